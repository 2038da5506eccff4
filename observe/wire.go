package observe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// A reader that takes nothing for writeTimeout is cut: what it has not seen it
// gets when it comes back. While the process is going away there is less time.
const (
	writeTimeout = 10 * time.Second
	hurryTimeout = 500 * time.Millisecond
)

// A wire takes the bytes of a stream. Write returns when all of p is on its way to
// the client, or within writeTimeout. This is all that a stream needs of a
// response, so that another way of writing can be put under it.
type wire interface {
	Write(p []byte) (int, error)
}

// A responseWire writes to the response inside the handler's goroutine.
type responseWire struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	drained context.Context // a write under way then has to hurry
	until   time.Time       // when the write under way has to be done
}

func newResponseWire(w http.ResponseWriter, drained context.Context) *responseWire {
	return &responseWire{w: w, rc: http.NewResponseController(w), drained: drained}
}

// Write writes and flushes. Between writes there is no deadline: on HTTP/2 it
// would be a timer that resets the stream, written to or not.
func (o *responseWire) Write(p []byte) (n int, err error) {
	settle := o.hurryWhenDrained()
	defer settle()
	if err = o.setDeadline(); err != nil {
		return 0, err
	}
	if n, err = o.w.Write(p); err != nil {
		return n, o.explain(err)
	}
	if err = o.setDeadline(); err != nil { // wrappers may have moved it
		return n, err
	}
	if err = o.rc.Flush(); err != nil {
		return n, o.explain(err)
	}
	return n, tolerate(o.rc.SetWriteDeadline(time.Time{}))
}

func (o *responseWire) setDeadline() error {
	err := o.endBy(writeTimeout)
	if o.drained.Err() != nil { // looked at last: a drain that begins later comes after this deadline
		err = o.endBy(hurryTimeout)
	}
	return err
}

func (o *responseWire) endBy(timeout time.Duration) error {
	o.until = time.Now().Add(timeout)
	return tolerate(o.rc.SetWriteDeadline(o.until))
}

// explain gives the error of a write that took too long its name: on HTTP/2 it
// looks like that of a client that left.
func (o *responseWire) explain(err error) error {
	if time.Now().Before(o.until) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
}

// hurryWhenDrained sees to it that a drain is not held up by a reader that has
// stopped reading. It goes past all wrappers to the server's own writer, because
// theirs may not be touched while they write (Caddy's keeps the deadline in a
// field without a lock) and the server's may. The function returned waits until
// that is over.
func (o *responseWire) hurryWhenDrained() (settle func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(o.drained, func() {
		defer close(done)
		_ = http.NewResponseController(innermost(o.w)).SetWriteDeadline(time.Now().Add(hurryTimeout))
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}

// tolerate lets writers pass that know no deadlines; tests have them, and some
// middlewares.
func tolerate(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

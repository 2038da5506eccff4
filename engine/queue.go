package engine

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
)

// A Queue says that submits are stored and answered at once, and delivered when the
// backend can take them.
type Queue struct {
	For         time.Duration // how long a submit may take to be delivered
	Max         int           // how many of a job may be undelivered at the same time
	OnUncertain Uncertain     // what to do if it cannot be known whether the backend has one
}

// DefaultQueue is that of submits that come under our own path, of a job that says
// nothing else.
var DefaultQueue = Queue{For: 15 * time.Minute, Max: 1000, OnUncertain: UncertainFails}

// Uncertain says what becomes of a submit whose answer did not come although the
// backend may have it.
type Uncertain string

const (
	UncertainFails     Uncertain = "fail"     // the intent ends as FAILED with submit_uncertain
	UncertainResubmits Uncertain = "resubmit" // it is sent again, under the same Idempotency-Key
	UncertainLooksUp   Uncertain = "lookup"   // the backend is asked for the job by that key
)

// Uncertains lists what can be done about an uncertain submit.
func Uncertains() []Uncertain {
	return []Uncertain{UncertainFails, UncertainResubmits, UncertainLooksUp}
}

// These can be returned by Submit for a request that is to be queued. Nothing was
// stored.
var (
	// ErrQueueFull: as many submits of the job as may wait do so.
	ErrQueueFull = errors.New("too many submits wait for the backend")
	// ErrTooLong: the body is longer than what may be kept.
	ErrTooLong = errors.New("the body is too long to be kept")
	// ErrBrokeOff: the body ended early.
	ErrBrokeOff = errors.New("the body broke off")
)

// ErrInDoubt can be returned by Submit for a request that is to be queued: the store
// did not say whether it has it, not even when it was asked again. Who sent a key learns
// what became of it by a repeat, and is delivered once. What has no key is taken back as
// soon as the store can be asked; if the process dies before, it is delivered.
var ErrInDoubt = errors.New("it is not known whether the request was stored")

// enqueue stores the client's request instead of sending it, and answers with the
// intent.
func (x *exchange) enqueue(r *http.Request) error {
	body, err := x.readWhole(r)
	if err != nil {
		return err
	}
	compared := body
	if x.submission.Compared != nil {
		compared = x.submission.Compared
	}
	r.Body = io.NopCloser(bytes.NewReader(compared))
	if answered, err := x.writeAhead(r); answered || err != nil {
		return err
	}
	if !x.engine.takePlace(x.submission.Job.JobName, x.submission.Queue.Max) {
		x.unreserve()
		return ErrQueueFull
	}
	defer x.engine.givePlace(x.submission.Job.JobName)                                 // by then the intent has one of its own
	x.capture = newCapture(io.NopCloser(bytes.NewReader(compared)), 0, r.URL.RawQuery) // for its hash
	x.capture.drain()
	o, err := x.postpone(r, body)
	if err != nil {
		x.unreserve()
		return err
	}
	plain := x.Header().Clone()
	reply := x.compose(&o.intent, false)
	failpoint.Hit(failpoint.Queueing)
	if err := x.settle(&o, x.remember(reply)); err != nil {
		x.engine.log().Error("storing a submit to be delivered", "job", x.submission.Job.Name, "err", err)
		x.restore(plain)
		if errors.Is(err, ErrInDoubt) {
			return ErrInDoubt
		}
		return ErrNotAccepted
	}
	x.known(o.intent.ID)
	failpoint.Hit(failpoint.Queued)
	x.send(reply)
	x.present()
	return nil
}

// readWhole reads a body that has to be kept.
func (x *exchange) readWhole(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return []byte{}, nil
	}
	limit := x.submission.Job.MaxBody
	if r.ContentLength > limit { // before a client that expects 100 sends it
		return nil, ErrTooLong
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case int64(len(body)) > limit:
		return nil, ErrTooLong
	case err != nil:
		return nil, ErrBrokeOff
	}
	return body, nil
}

// postpone makes the request an intent that is to be delivered at once, or as soon as
// that is possible.
func (x *exchange) postpone(r *http.Request, body []byte) (opening, error) {
	now := x.engine.store.Now()
	var in intent.Intent
	if x.reservation != nil {
		in = x.reservation.Intent
	} else {
		in = x.newIntent(now)
	}
	x.engine.sealBody(&in, body)
	in, events := in.Begin(now)
	head, err := x.engine.sealHead(in.ID, headOf(r, in.ID))
	if err != nil {
		return opening{}, err
	}
	until := now.Add(x.submission.Queue.For)
	if in.Deadline.Before(until) {
		until = in.Deadline
	}
	in.Outgoing = &intent.Outgoing{Head: head, Until: until}
	in.Sealed = x.engine.seal(x.submission.Job, in.ID, x.asked)
	x.engine.noteCredentials(x.submission.Job, x.asked)
	in.Due = now
	return opening{intent: in, events: events}, nil
}

// takePlace counts one more undelivered submit of a job, unless there are as many as
// there may be. What an earlier life has left counts when it has been claimed.
func (e *Engine) takePlace(n JobName, most int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.undelivered[n] >= most {
		return false
	}
	e.undelivered[n]++
	return true
}

func (e *Engine) givePlace(n JobName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.countUndelivered(n, -1)
}

// countUndelivered is called by a caller that holds e.mu.
func (e *Engine) countUndelivered(n JobName, by int) {
	if e.undelivered[n] += by; e.undelivered[n] == 0 {
		delete(e.undelivered, n)
	}
}

package observe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/store"
)

// An End says why a stream ended.
type End string

const (
	EndDone    End = "done"    // the intent has ended and the client was sent all of it
	EndTimeout End = "timeout" // the client's own limit
	EndAge     End = "age"     // the stream was old enough
	EndDrain   End = "drain"   // the process, or its store, is going away
	EndRemoved End = "removed" // the intent was removed
	EndSlow    End = "slow"    // the client took nothing for writeTimeout
	EndGone    End = "gone"    // the client left
)

// clean reports whether the client may take the stream for complete.
func (e End) clean() bool { return e == EndDone || e == EndTimeout }

// inTouch reports whether the client can be told when to come back. A slow one
// cannot: part of a frame may be on its way, and what follows would be read as
// the rest of it.
func (e End) inTouch() bool { return e == EndAge || e == EndDrain || e == EndRemoved }

// How long a client is asked to wait before it reconnects, on average; each is
// given another value, so that those who were cut together do not come together.
const (
	retryUsual = 2 * time.Second         // after a connection that broke
	retryCut   = 1500 * time.Millisecond // after a cut of our own making
)

// A stream is one observer's connection. What blocks for most of its life is run,
// in the goroutine of the request, and the frames of that stack are kept small: a
// large local variable there costs every idle observer 16 KB. So what needs room
// happens in functions that have returned by then, and in buffers from a pool.
type stream struct {
	hub  *Hub
	log  Store
	seat *seat
	out  wire

	id        intent.ID
	url       string // of the intent, for the client
	cursor    int64  // id of the last event sent
	heartbeat time.Duration

	beatAt  time.Time // when the client needs a sign of life
	checkAt time.Time // when to look for events although no bell rang
	rung    bool      // the bell did ring
	leaveAt time.Time // when the stream ends whatever happens
	leave   End       // why it does
	ended   func(End) // is told why it did; may be nil
}

// openStream writes the head of the answer and returns the stream that is to
// follow, or nil if none is.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	ask, err := s.readAsk(r)
	if err != nil {
		return nil, err
	}
	in, err := s.find(r.Context(), text)
	if err != nil {
		return nil, err
	}
	from := ask.cursor.in(in.Generation)
	over := in.Status.Terminal() && from == in.EventID(in.Seq) && ask.leave != EndTimeout
	if over || r.Method == http.MethodHead {
		writeHead(w, over)
		return nil, nil
	}
	seat, err := s.Hub.join(in.ID, s.MaxObservers)
	if err != nil {
		return nil, err
	}
	writeHead(w, false)
	return &stream{
		hub: s.Hub, log: s.Store, seat: seat, out: newResponseWire(w, s.Hub.drained),
		id: in.ID, url: s.IntentURL(Prefix(r.Context()), in.ID), cursor: from,
		heartbeat: ask.heartbeat, leaveAt: time.Now().Add(ask.life), leave: ask.leave, ended: s.Ended,
	}, nil
}

// serve runs the stream to its end and ends the response accordingly.
func (st *stream) serve(ctx context.Context) {
	defer st.hub.leave(st.seat)
	end := st.run(ctx)
	if end.inTouch() {
		_ = st.send(sse.AppendRetry(nil, jitter(retryCut, 2.0/3))) // it is cut either way
	}
	if st.ended != nil {
		st.ended(end)
	}
	if !end.clean() {
		panic(http.ErrAbortHandler)
	}
}

// run writes events, and signs of life between them, until the stream ends.
func (st *stream) run(ctx context.Context) End {
	if err := st.send(sse.AppendRetry(nil, jitter(retryUsual, 0.25))); err != nil {
		return endOf(err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if end := st.turn(ctx, time.Now()); end != "" {
			return end
		}
		timer.Reset(time.Until(st.nextTurn()))
		select {
		case <-st.seat.bell:
			st.checkAt, st.rung = time.Time{}, true
		case <-timer.C:
		case <-st.hub.drained.Done():
			return EndDrain
		case <-ctx.Done():
			return EndGone
		}
	}
}

func (st *stream) nextTurn() time.Time {
	next := st.leaveAt
	for _, t := range []time.Time{st.beatAt, st.checkAt} {
		if t.Before(next) {
			next = t
		}
	}
	return next
}

// turn does what is due. It returns why the stream ends, "" if it goes on.
func (st *stream) turn(ctx context.Context, now time.Time) End {
	if !now.Before(st.checkAt) {
		st.checkAt = now.Add(store.CheckInterval)
		if end := st.follow(ctx, now); end != "" {
			return end
		}
	}
	if !now.Before(st.leaveAt) {
		if st.leave == EndTimeout {
			if err := st.send(appendTimeout(nil, split(st.cursor).seq)); err != nil {
				return endOf(err)
			}
		}
		return st.leave
	}
	if !now.Before(st.beatAt) {
		if err := st.send([]byte(sse.Heartbeat)); err != nil {
			return endOf(err)
		}
	}
	return ""
}

// follow sends what the store has after the cursor. A store that cannot be read
// is no reason to send clients away, who would all come back at once: they stay,
// and the next turn tries again.
func (st *stream) follow(ctx context.Context, now time.Time) End {
	if err := st.hub.watch(ctx, st.id, now); err != nil {
		st.hub.logger.DebugContext(ctx, "telling that an intent is watched", "intent", st.id.String(), "err", err)
	}
	in, events, err := st.look(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return EndRemoved
	case err != nil:
		st.hub.logger.DebugContext(ctx, "reading events", "intent", st.id.String(), "err", err)
		return ""
	case !split(st.cursor).within(&in):
		events = []intent.Event{snapshot(&in)}
	}
	if err := st.deliver(&in, events); err != nil {
		return endOf(err)
	}
	if in.Status.Terminal() && len(events) > 0 {
		return EndDone
	}
	return ""
}

// look reads what the store has after the cursor.
func (st *stream) look(ctx context.Context) (intent.Intent, []intent.Event, error) {
	after := split(st.cursor).seq
	if st.rung {
		st.rung = false
		return st.hub.look(ctx, st.log, st.id, after)
	}
	return st.log.Events(ctx, st.id, after)
}

// deliver writes the frames of events, several at once if there is a backlog.
func (st *stream) deliver(in *intent.Intent, events []intent.Event) error {
	frames := buffers.Get().(*[]byte)
	defer buffers.Put(frames)
	buf := (*frames)[:0]
	for i, e := range events {
		if e.Status.Terminal() {
			buf = appendEnd(buf, in, e, st.url)
		} else {
			buf = appendEvent(buf, in, e, st.url)
		}
		if i < len(events)-1 && len(buf) < MaxFrame {
			continue
		}
		if err := st.send(buf); err != nil {
			return err
		}
		st.cursor = in.EventID(e.Seq)
		buf = buf[:0]
	}
	*frames = buf
	return nil
}

// buffers holds room for a batch: what was too little for a write, and a frame.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// send writes to the client, which is a sign of life too.
func (st *stream) send(p []byte) error {
	if _, err := st.out.Write(p); err != nil {
		return fmt.Errorf("writing to the client: %w", err)
	}
	st.beatAt = time.Now().Add(st.heartbeat)
	return nil
}

func endOf(err error) End {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return EndSlow
	}
	return EndGone
}

// writeHead writes the head of the answer. 204 is the one answer after which no
// EventSource comes back. no-transform keeps compression off: an encoder per
// stream takes megabytes. X-Accel-Buffering keeps nginx from collecting events.
func writeHead(w http.ResponseWriter, over bool) {
	h := w.Header()
	h.Set("Cache-Control", "no-store, no-transform")
	h.Add("Vary", "Accept")
	if over {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Content-Type", sse.ContentType)
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
}

// jitter spreads d evenly by part of it to both sides.
func jitter(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 + part*(2*rand.Float64()-1)))
}

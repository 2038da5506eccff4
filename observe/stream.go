package observe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
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
	EndUnsaid  End = "unsaid"  // what the stream tells cannot be told any more; see Words
)

// Ends lists why a stream can end.
func Ends() []End {
	return []End{EndDone, EndTimeout, EndAge, EndDrain, EndRemoved, EndSlow, EndGone, EndUnsaid}
}

// clean reports whether the client may take the stream for complete.
func (e End) clean() bool { return e == EndDone || e == EndTimeout }

// inTouch reports whether the client can be told when to come back. A slow one
// cannot: part of a frame may be on its way, and what follows would be read as
// the rest of it.
func (e End) inTouch() bool { return e == EndAge || e == EndDrain || e == EndRemoved || e == EndUnsaid }

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
	hub    *Hub
	log    Store
	party  *party
	tracks []track // of the intents followed, as the party's seats
	roster *roster // what cursors are about if several are followed; else nil
	words  Words   // what is told instead of events; nil for events
	out    wire

	unnamed   bool
	heartbeat time.Duration

	beatAt  time.Time // when the client needs a sign of life
	checkAt time.Time // when to look for events although no bell has rung
	leaveAt time.Time // when the stream ends whatever happens
	leave   End       // why it does
	window  window    // how it may end before
	ended   func(End) // is told why it did; may be nil
}

// A track is how far a stream is with one intent.
type track struct {
	id     intent.ID
	url    string           // of the intent's result, for the client
	cursor int64            // id of the last event sent
	over   bool             // there is nothing more to send
	last   intent.EventType // the last event, where words are told
}

// openStream writes the head of the answer and returns the stream that is to
// follow, or nil if none is.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	cursor, err := readCursor(r)
	if err != nil {
		return nil, err
	}
	token := r.URL.Query().Get("token")
	seen, err := s.see(r, text, token)
	if err != nil {
		return nil, s.orElsewhere(r, text, token, err)
	}
	cursor.since = s.AXP.manners(r.Header).after(cursor.since)
	return s.stream(w, r, []sight{seen}, []int64{cursor.in(seen.Generation)}, nil)
}

// stream opens a stream of the intents seen, each from its cursor on.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, seen []sight, from []int64, roster *roster) (*stream, error) {
	ask, err := s.readAsk(r)
	if err != nil {
		return nil, err
	}
	st := &stream{
		hub: s.Hub, log: s.Store, roster: roster, unnamed: ask.unnamed,
		heartbeat: ask.heartbeat, leaveAt: time.Now().Add(ask.life), leave: ask.leave, window: ask.window, ended: s.Ended,
	}
	for i, in := range seen {
		st.tracks = append(st.tracks, track{
			id: in.ID, url: s.resultURL(r, &in.Intent), cursor: from[i],
			over: ask.leave != EndTimeout && in.Status.Terminal() && from[i] == in.EventID(in.Seq),
		})
		if !in.until.IsZero() && in.until.Before(st.leaveAt) {
			st.leaveAt, st.leave = in.until, EndAge
		}
	}
	if st.over() || r.Method == http.MethodHead {
		writeHead(w, st.over())
		return nil, nil
	}
	if err := s.begin(st, w, seen[0].Owner); err != nil {
		return nil, err
	}
	return st, nil
}

// begin takes the stream's seat and writes the head.
func (s *Server) begin(st *stream, w http.ResponseWriter, owner string) (err error) {
	ids := make([]intent.ID, len(st.tracks))
	for i := range st.tracks {
		ids[i] = st.tracks[i].id
	}
	if st.party, err = s.Hub.join(ids, owner, s.Limits); err != nil {
		return err
	}
	writeHead(w, false)
	st.out = newResponseWire(w, st.party.drained)
	return nil
}

// over reports whether there is nothing more to send of any intent.
func (st *stream) over() bool {
	return !slices.ContainsFunc(st.tracks, func(t track) bool { return !t.over })
}

// serve runs the stream to its end and ends the response accordingly.
func (st *stream) serve(ctx context.Context) {
	defer st.hub.leave(st.party)
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
	if err := aside(func() error { return st.send(sse.AppendRetry(nil, jitter(retryUsual, 0.25))) }); err != nil {
		return endOf(err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if end := aside(func() End { return st.turn(ctx, time.Now()) }); end != "" {
			return end
		}
		timer.Reset(time.Until(st.nextTurn()))
		select {
		case <-st.party.bell:
			if end := aside(func() End { return st.follow(ctx, time.Now(), false) }); end != "" {
				return end
			}
		case <-timer.C:
		case <-st.party.drained.Done():
			if st.window.soft {
				return st.closeWindow(EndTimeout)
			}
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
		if end := st.follow(ctx, now, true); end != "" {
			return end
		}
	}
	if !now.Before(st.leaveAt) {
		if st.leave == EndTimeout {
			return st.closeWindow(EndTimeout)
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

// closeWindow ends the stream of a client that set a limit, and tells it where to go on.
func (st *stream) closeWindow(end End) End {
	if err := st.send(appendTimeout(nil, st.whereNext(), label{unnamed: st.unnamed})); err != nil {
		return endOf(err)
	}
	return end
}

// whereNext is what a client whose time is up is told.
func (st *stream) whereNext() string {
	if st.roster != nil {
		return `{"ok":true}` // its cursor is the id of the last event
	}
	return `{"ok":true,"next_seq":` + strconv.FormatInt(split(st.tracks[0].cursor).seq+1, 10) + `}`
}

// follow sends what is new of the intents that a bell was rung for, or of all.
func (st *stream) follow(ctx context.Context, now time.Time, all bool) End {
	told := false
	for i, seat := range st.party.seats {
		t := &st.tracks[i]
		heard := st.hub.answer(seat, split(t.cursor))
		if !t.over && (heard.rung || all) {
			from := t.cursor
			if end := st.followOne(ctx, now, t, heard); end != "" {
				return end
			}
			told = told || t.cursor != from
		}
	}
	switch over := st.over(); {
	case over && st.window.marked:
		return st.closeWindow(EndDone)
	case over:
		return EndDone
	case told && st.window.brief:
		return st.closeWindow(EndTimeout)
	}
	return ""
}

// followOne sends what is after the cursor, a batch at a time: nothing but the batch is
// in memory while a slow client keeps it waiting.
func (st *stream) followOne(ctx context.Context, now time.Time, t *track, heard heard) End {
	st.hub.watch(ctx, t.id, now)
	frames := buffers.Get().(*[]byte)
	defer buffers.Put(frames)
	for {
		more, end := st.batch(ctx, t, heard, frames)
		if end != "" {
			return end
		}
		if len(*frames) > 0 {
			if err := st.send(*frames); err != nil {
				return endOf(err)
			}
		}
		if !more {
			return ""
		}
		heard.known = false
	}
}

// batch fills frames with the next events and moves the cursor behind them; more
// reports whether there are others. They come from what the observer was rung for if
// that is all of them, else from the store. A store that cannot be read is no reason to
// send clients away, who would all come back at once: they stay, and the next turn
// tries again.
func (st *stream) batch(ctx context.Context, t *track, heard heard, frames *[]byte) (more bool, end End) {
	*frames = (*frames)[:0]
	at := split(t.cursor)
	if heard.known && st.words == nil {
		st.looked(time.Now())
		return st.frame(t, at.generation, heard.facts, frames), ""
	}
	l := st.look(ctx, t, at, heard)
	switch {
	case errors.Is(l.err, store.ErrNotFound):
		return false, EndRemoved
	case l.err != nil:
		st.hub.logger.DebugContext(ctx, "reading events", "intent", t.id.String(), "err", l.err)
		return false, ""
	}
	st.looked(time.Now())
	if st.words != nil {
		return false, st.say(t, &l.in, l.events, frames)
	}
	facts := l.facts()
	if !at.within(&l.in) {
		facts = factsOf([]intent.Event{snapshot(&l.in)})
	}
	return st.frame(t, l.in.Generation, facts, frames), ""
}

// frame fills frames with events and moves the cursor behind them; more reports whether
// some did not fit.
func (st *stream) frame(t *track, generation int64, facts []fact, frames *[]byte) (more bool) {
	for _, f := range facts {
		if len(*frames) >= MaxFrame {
			return true
		}
		t.cursor = place{generation, f.seq}.id()
		t.over = f.status.Terminal()
		l := label{id: st.cursor(), unnamed: st.unnamed, url: t.url}
		if t.over && st.over() {
			*frames = appendEnd(*frames, f, l)
		} else {
			*frames = appendEvent(*frames, f, l)
		}
	}
	return false
}

// looked puts the check off: thousands of observers who have all just read what a
// ring was about would all read the store again. Who follows several has looked for
// those only that were rung for.
func (st *stream) looked(now time.Time) {
	if len(st.tracks) == 1 {
		st.checkAt = now.Add(store.CheckInterval)
	}
}

// cursor is what the client has to come back with.
func (st *stream) cursor() string {
	if st.roster != nil {
		return st.roster.cursor(st.tracks)
	}
	return strconv.FormatInt(st.tracks[0].cursor, 10)
}

// look reads what the store has after a place.
func (st *stream) look(ctx context.Context, t *track, at place, heard heard) *look {
	if heard.rung {
		return st.hub.look(ctx, st.log, t.id, at.seq)
	}
	return lookAlone(ctx, st.log, t.id, at.seq)
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

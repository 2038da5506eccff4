package engine

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// An elsewhere is what is known of the polls of an intent that another replica holds.
// Guarded by Engine.mu.
type elsewhere struct {
	wanted   moment // it was asked to tell of them until then
	told     bool   // and has
	mark     string // of the body of the answer
	polled   moment // start of the last poll; never if there was none
	next     moment // when the next is planned
	busy     moment // one is under way until then at the latest; 0 if none is
	failures int
	failing  moment
	down     moment // since when the backend is; 0 if it is not
	unknown  bool   // nothing speaks for the job
	over     bool   // the intent has ended
	silent   bool   // it is in vain to wait for the next poll
}

// wish asks whoever holds an intent to tell of it, unless that is this engine. It reports
// whether there is anybody else. The caller holds e.mu.
func (e *Engine) wish(entry *answerEntry, window time.Duration) bool {
	if e.conference == nil || e.holds[entry.id] != nil || entry.ended > 0 {
		return false
	}
	if entry.elsewhere == nil {
		entry.elsewhere = &elsewhere{polled: never}
	}
	now := e.now()
	if w := entry.elsewhere; now.add(window-min(window, wantRefresh)) >= w.wanted {
		w.wanted = now.add(window)
		e.conference.wants[entry.id] = max(e.conference.wants[entry.id], window)
		e.conference.ring()
	}
	return true
}

// Expect prepares that somebody soon asks again how an intent stands which another replica
// may hold.
func (e *Engine) Expect(id intent.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conference != nil && e.holds[id] == nil {
		e.wish(e.answers.want(id), wantWindow)
	}
}

// standing is Standing as far as another replica has told.
func (w *elsewhere) standing(s Standing, e *Engine, now moment) Standing {
	if w == nil || !w.told {
		return s
	}
	if w.polled != never {
		s.Since = e.clock(w.polled)
	}
	switch {
	case w.unknown, w.over:
	case w.failures > 0:
		s.State = Late
	case now < w.busy, now < w.next:
		s.State = Current
	case w.silent:
		s.State = Late
	default:
		s.State = Due
	}
	return s
}

// hearTold has what was told of an intent read, if somebody here asks for it. The caller
// holds e.mu.
func (e *Engine) hearTold(id intent.ID) {
	entry := e.answers.wanted(id)
	if e.conference == nil || entry == nil || entry.elsewhere == nil || entry.elsewhere.wanted <= e.now() {
		return
	}
	e.conference.reads[id] = struct{}{}
	e.conference.ring()
}

// readTold reads what another replica has told of an intent.
func (e *Engine) readTold(id intent.ID) {
	e.mu.Lock()
	entry, known := e.answers.wanted(id), ""
	if entry == nil || entry.elsewhere == nil {
		e.mu.Unlock()
		return
	}
	if entry.answer != nil {
		known = entry.elsewhere.mark
	}
	e.mu.Unlock()
	t, err := e.conference.Told(e.ctx, id, known)
	var said toldOf
	if err == nil {
		err = json.Unmarshal(t.Words, &said)
	}
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			e.log().Debug("reading what another replica has told", "intent", id, "err", err)
		}
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.takeOverTold(id, &t, &said)
}

// takeOverTold takes over what another replica has told. What is older than what is known, from
// the time when this one polled, is not. The caller holds e.mu.
func (e *Engine) takeOverTold(id intent.ID, t *store.Telling, said *toldOf) {
	entry, at := e.answers.wanted(id), e.moment(t.At)
	if entry == nil || entry.elsewhere == nil || entry.answer != nil && at < entry.asked {
		return
	}
	before := func(d *time.Duration, none moment) moment {
		if d == nil {
			return none
		}
		return at.add(-*d)
	}
	w := entry.elsewhere
	*w = elsewhere{
		wanted: w.wanted, told: true, mark: w.mark, polled: before(said.Polled, never), unknown: said.Unknown, over: said.Over, silent: said.NoWait,
		failures: said.Failures, failing: before(said.Failing, 0), down: before(said.Down, 0),
	}
	if said.Next != nil {
		w.next = at.add(*said.Next)
	}
	if said.Busy > 0 {
		w.busy = at.add(said.Busy)
	}
	if said.Voided != nil {
		entry.voided = max(entry.voided, before(said.Voided, 0))
	}
	if said.Ended != nil {
		entry.ended, entry.last = max(before(said.Ended, 0), 1), before(said.Polled, 0)
	}
	e.takeAnswer(entry, t, said)
	if entry.shared != nil && w.busy == 0 {
		close(entry.shared)
		entry.shared = nil
	}
	e.tellNews(id)
}

// takeAnswer takes over the answer that was told. The caller holds e.mu.
func (e *Engine) takeAnswer(entry *answerEntry, t *store.Telling, said *toldOf) {
	w, at := entry.elsewhere, e.moment(t.At)
	last, body, heard := entry.answer, t.Body, said.Answer
	if body == nil && last != nil && w.mark == t.Mark {
		body = last.Body
	}
	w.mark = t.Mark
	if heard == nil || body == nil || entry.voids(at.add(-heard.Asked)) {
		e.answers.put(entry, nil, 0)
		entry.unkept = said.Unkept
		return
	}
	e.answers.put(entry, &adapter.Answer{Code: heard.Code, Header: heard.Header, Body: body, At: e.clock(at.add(-heard.At))}, at.add(-heard.Asked))
	entry.copied, entry.ends = heard.Copied, heard.Ends
	entry.news = last == nil || t.Body != nil
}

// soonTold is how long is waited for what another replica knows, before what is known here
// has to do.
const soonTold = 500 * time.Millisecond

// AwaitEnd waits for a moment for how an intent ended that another replica held.
func (e *Engine) AwaitEnd(ctx context.Context, id intent.ID) {
	e.awaitTold(ctx, id, func(w *elsewhere) bool { return w.over || !w.told })
}

// AwaitPolling waits for a moment for what another replica knows of the polls of an
// intent.
func (e *Engine) AwaitPolling(ctx context.Context, id intent.ID) {
	e.awaitTold(ctx, id, func(w *elsewhere) bool {
		now := e.now()
		return w.told && (w.silent || w.unknown || w.over || now < w.busy || now < w.next)
	})
}

// awaitTold waits for a telling that will do. Once it was waited for in vain, it is not
// again, until something is told.
func (e *Engine) awaitTold(ctx context.Context, id intent.ID, will func(*elsewhere) bool) {
	ctx, cancel := context.WithTimeout(ctx, soonTold)
	defer cancel()
	for {
		e.mu.Lock()
		entry := e.answers.want(id)
		if !e.wish(entry, wantGlance) || entry.elsewhere.silent && !entry.elsewhere.told || will(entry.elsewhere) {
			e.mu.Unlock()
			return
		}
		over := e.shares(entry)
		e.mu.Unlock()
		select {
		case <-over:
		case <-ctx.Done():
			e.giveUpOn(id)
			return
		}
	}
}

// giveUpOn notes that it was waited in vain for what another replica tells.
func (e *Engine) giveUpOn(id intent.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if entry := e.answers.wanted(id); entry != nil && entry.elsewhere != nil {
		entry.elsewhere.silent = true
	}
}

// polledElsewhere is Polling for what another replica has told. The caller holds e.mu.
func (e *Engine) polledElsewhere(id intent.ID) Polled {
	entry := e.answers.wanted(id)
	if entry == nil || entry.elsewhere == nil || !entry.elsewhere.told {
		return Polled{}
	}
	w := entry.elsewhere
	p := Polled{Failures: w.failures}
	if w.polled != never {
		p.Last = e.wall(w.polled)
	}
	if w.busy == 0 && w.next != 0 {
		p.Next = e.wall(w.next)
	}
	if w.failing != 0 {
		p.Failing = e.wall(w.failing)
	}
	if w.down != 0 {
		p.DownSince = e.wall(w.down)
	}
	return p
}

// arrive takes over, as an intent comes to this engine, what another one has told of its
// polls. The caller holds e.mu.
func (e *Engine) arrive(h *held) {
	entry := e.answers.wanted(h.lease.ID)
	if entry == nil || entry.elsewhere == nil {
		return
	}
	h.polled = entry.elsewhere.polled
	entry.elsewhere = nil
}

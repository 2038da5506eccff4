package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// A step is what a poll came to, as far as the schedule is concerned.
type step struct {
	job        *Job
	started    moment // when the backend was asked, or is about to be
	last       bool   // its deadline had passed when its turn came
	outcome    outcome
	retryAfter time.Duration // the backend's wish; 0 for none
	waited     bool          // the backend was asked to wait with its answer
	peers      crowdName     // who can share a request with it; zero for nobody
	anew       manner        // nothing was learnt: ask at once, like this; usual if not so
	aside      bool          // it was not asked after all: as before, now
	tookCancel bool          // what a client canceled meanwhile is stored
	delivered  bool          // the backend has the submit now
	doubt      bool          // it may have it from an earlier try
	extend     time.Duration // by so much its deadline is later than the end of its time in the queue
	next       time.Duration // when to go on, in place of what the pace says; 0 for that
	over       bool          // the intent has ended, or is not ours any more
	kept       bool          // it has ended, and the store has not taken that yet
	told       bool          // how it ended is the backend's word, and not ours
	health     health        // of the backend, as the request showed it
	again      time.Duration // the store did not take it: try again after this; 0 if it did
	took       time.Duration // until the backend had answered, or had not; 0 if it was not asked for this one alone
	shared     bool          // it was asked about in the request of another
	news       bool          // an event of it was stored
	unknown    bool          // the backend used a word that the config does not map
}

// poll asks the backend about the one whose turn it is and plans what follows. Its
// goroutine is joined by Stop.
func (e *Engine) poll(t turn, started moment) {
	h := t.h
	ctx, done := e.ctx, func() {}
	if h.manner != delivers { // a request that makes a job is not cut off
		ctx, done = e.during(h)
	}
	s := e.pollOnce(ctx, h, started)
	done()
	e.measure(h, &s)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noteSlow(h, e.now().sub(started))
	if h.manner == waits {
		t.lane.long--
		delete(e.interrupts, h)
	}
	e.leave(t, s.verdict(h))
	e.finish(h, s)
}

// verdict is what a step says of the backend, which was asked about these.
func (s *step) verdict(about ...*held) verdict {
	v := verdict{health: s.health, started: s.started, retryAfter: s.retryAfter, about: about}
	if s.job != nil {
		v.pace = s.job.Pace
	}
	return v
}

// finish ends a step of h and plans what follows. The caller holds e.mu.
func (e *Engine) finish(h *held, s step) {
	e.rest(h)
	switch {
	case s.over:
		e.forget(h)
	case s.kept:
		e.await(h)
	case s.anew != usual && s.job != nil:
		h.manner = s.anew
		e.enlist(h, s.peers)
		e.enter(h, s.job.Backend, e.now())
	case s.aside && s.job != nil:
		e.enlist(h, s.peers)
		e.plan(h, e.now())
	default:
		e.settle(h, s)
	}
}

// await has h do nothing until its end is written. The caller holds e.mu.
func (e *Engine) await(h *held) {
	if h.draft != nil && len(h.draft.changes) > 0 {
		h.busy, h.ended = true, true
	} else { // it was written while the step came to its end
		e.forget(h)
	}
}

// settle notes the outcome of a poll and plans the next. The caller holds e.mu.
func (e *Engine) settle(h *held, s step) {
	now := e.now()
	manner := h.manner
	h.manner = usual
	if s.outcome != notPolled {
		h.polled = s.started
		h.floor = now.add(s.retryAfter)
		if s.retryAfter == 0 {
			h.floor = 0
		}
	}
	if s.again > 0 { // what was asked counts against the pace although nothing was stored of it
		due := now.add(s.again)
		if s.job != nil && s.outcome != notPolled {
			due = max(due, s.started.add(s.job.Pace.Interval))
		}
		e.plan(h, due)
		return
	}
	h.last = s.outcome
	switch {
	case s.outcome == answered:
		h.failures = 0
	case h.failures == 0:
		h.failing = s.started
		fallthrough
	default:
		h.failures++
	}
	if s.job == nil { // it went away meanwhile: park
		e.place(h, now)
		return
	}
	e.enlist(h, s.peers)
	if s.delivered {
		e.setDelivered(h)
		h.deadline, h.polled = h.deadline.add(s.extend), never
	}
	if s.next > 0 {
		e.plan(h, now.add(s.next))
		return
	}
	if manner == plainly && s.outcome == answered {
		e.stopWaiting(s.job, now)
	}
	if h.canceled {
		h.canceled = !s.tookCancel
		e.pollSoon(h)
		return
	}
	e.plan(h, max(e.due(h, s, now), now))
}

// due applies the pace: the plain interval while somebody watches; else, and as
// long as the backend does not answer, one that grows.
func (e *Engine) due(h *held, s step, now moment) moment {
	pace := s.job.Pace
	if s.waited && s.outcome == answered && now.sub(s.started) >= longEnough {
		h.interval = 0
		return now
	}
	if (s.outcome == answered || s.outcome == missing) && h.watched > now {
		h.interval = pace.watched()
		return h.crowd.inStep(s.started.add(h.interval), h.interval)
	}
	if h.interval == 0 {
		h.interval = pace.Interval
	} else {
		h.interval = pace.grow(h.interval)
	}
	due := s.started.add(pace.jittered(h.interval))
	if h.interval > pace.Interval {
		return due // others take it along
	}
	return h.crowd.inStep(due, h.interval)
}

// pollOnce asks the backend once and stores what it says.
func (e *Engine) pollOnce(ctx context.Context, h *held, started moment) step {
	s := step{started: started, last: started >= h.deadline, job: e.settings.Load().Jobs[*h.name]}
	if s.job == nil {
		return s
	}
	in, err := e.recall(ctx, h)
	if err != nil {
		return e.storeFailed(h, s, err)
	}
	if s.over = in.Status.Terminal(); s.over {
		return s
	}
	s.peers = peersOf(s.job, &in)
	s.started = e.asking(started)
	if in.Outgoing != nil {
		return e.deliverOnce(ctx, h, s, &in)
	}
	if h.manner == waits {
		return e.waitOnce(ctx, h, s, &in)
	}
	asked := e.now()
	answer, r, err := e.askStatus(ctx, s.job, &in)
	s.took = e.now().sub(asked)
	return e.accept(ctx, h, s, &in, said{code: answer.Code, answer: &answer, reading: r, err: err})
}

// asking is the moment at which a step that was started asks the backend. With a slow
// store that is much later, and the pause to the next request counts from it.
func (e *Engine) asking(started moment) moment {
	if now := e.now(); now.sub(started) > beatWidth {
		return now
	}
	return started
}

// A said is what came of asking about an intent.
type said struct {
	code    int
	answer  *adapter.Answer // nil if it was about others, too
	shared  int             // the code of that answer then
	reading adapter.PollReading
	err     error // there was no answer
}

// errUnasked in an error says that it is not the backend's: nothing was sent.
var errUnasked = errors.New("nothing was asked")

// health is what an answer, or that there was none, says of the backend. A rule that
// reads a 500 as the state of a job makes it an answer as any other.
func (q said) health() health {
	if q.err == nil && q.reading.Outcome != adapter.Unavailable {
		return alive
	}
	return healthBy(q.code, q.err)
}

func healthBy(code int, err error) health {
	switch {
	case errors.Is(err, errUnasked):
		return unclear
	case err != nil, isSick(code):
		return sick
	}
	return alive
}

func isSick(code int) bool { return code >= 500 || code == http.StatusTooManyRequests }

// accept stores what the backend said about the intent of h.
func (e *Engine) accept(ctx context.Context, h *held, s step, in *intent.Intent, q said) step {
	s.health = q.health()
	next, events, s := e.read(ctx, h, s, in, q)
	if ctx.Err() != nil {
		return s.cutOff()
	}
	e.remember(in, s.started, q)
	if s.last && !next.Status.Terminal() {
		next, events = e.cancelAtDeadline(ctx, s.job, next, events)
	}
	pause := max(s.job.Pace.Interval, s.retryAfter)
	if len(events) == 0 && !learnt(in, &next) && pause == s.job.Pace.Interval {
		return s
	}
	next.Due = e.wall(s.started.add(pause))
	failpoint.Hit(failpoint.Polled)
	return e.appendOrKeep(ctx, h, s, in.Seq, next, events)
}

// learnt reports whether next knows anything that the store does not. Most polls
// of a job that runs for an hour learn nothing, and cost no write.
func learnt(in, next *intent.Intent) bool {
	return next.Polling != in.Polling || next.Progress != in.Progress || next.Message != in.Message ||
		next.UnknownState != in.UnknownState || next.Waiting != in.Waiting
}

// read says what an answer means for the intent.
func (e *Engine) read(ctx context.Context, h *held, s step, in *intent.Intent, q said) (intent.Intent, []intent.Event, step) {
	r := q.reading
	next := *in
	s.tookCancel = e.takeCancel(h, &next)
	if q.err != nil {
		s.outcome = unavailable
		e.log().Debug("polling", "intent", in.ID, "job", in.Job, "attempt", h.failures+1, "err", q.err)
		next, events := e.wait(h, next, "backend")
		return next, events, s
	}
	s.retryAfter = r.RetryAfter
	e.warnRefused(in, r.Refused)
	next.Memory = r.Memory
	switch r.Outcome {
	case adapter.Readable:
		s.outcome = answered
		next.Unreadable, next.Missing = 0, 0
		if r.Fetch != nil {
			r.Reading = e.fetchResult(ctx, s.job, in, *r.Fetch, r.Reading)
		}
		s.told = r.Reading.Status.Terminal()
		s.unknown = r.Reading.UnknownState != ""
		e.warnUnknown(in, r.Reading.UnknownState)
		next, events := next.Apply(r.Reading, e.store.Now())
		return next, events, s
	case adapter.Unavailable:
		s.outcome = unavailable
		e.log().Debug("backend is unavailable", "intent", in.ID, "job", in.Job, "code", q.code, "attempt", h.failures+1)
		next, events := e.wait(h, next, "backend")
		return next, events, s
	case adapter.Missing, adapter.Gone:
		s.outcome = missing
		next, events := e.miss(h, s, next, r)
		return next, events, s
	case adapter.Unreadable:
		if refusesCredentials(q.code) {
			s.outcome = unavailable
			next, events := e.lackCredentials(in, next, s.job)
			return next, events, s
		}
		fallthrough
	default:
		s.outcome = unreadable
		e.log().Debug("status could not be read", "intent", in.ID, "job", in.Job, "reason", r.Reason, "attempt", h.failures+1)
		if h.last == unreadable {
			next.Unreadable += s.started.sub(h.polled)
		}
		if next.Unreadable >= s.job.Pace.GiveUp {
			next, events := next.End(intent.Failed, intent.Details{Error: gaveUp(r, s.job.Pace.GiveUp)}, e.store.Now())
			return next, events, s
		}
		if h.failures+1 >= waitAfter && e.told.first("unreadable", in.Scope, in.Job) {
			e.log().Warn("the backend's status answers cannot be read; intents fail after give_up",
				"job", in.Job, "intent", in.ID, "code", q.code, "reason", r.Reason)
		}
		next, events := e.wait(h, next, "unreadable")
		return next, events, s
	}
}

func (e *Engine) askStatus(ctx context.Context, job *Job, in *intent.Intent) (adapter.Answer, adapter.PollReading, error) {
	in = e.opened(job, in)
	q, err := e.statusRequest(job, in)
	if err != nil {
		return adapter.Answer{}, adapter.PollReading{}, err
	}
	asked := e.now()
	answer, err := e.ask(ctx, job, in, q)
	if err != nil {
		return adapter.Answer{}, adapter.PollReading{}, err
	}
	e.warnCookie(in, answer.Header)
	r := job.Adapter.ReadPoll(in, answer)
	e.keep(in, q, answer, r, asked)
	return answer, r, nil
}

func (e *Engine) statusRequest(job *Job, in *intent.Intent) (adapter.Request, error) {
	q, err := job.Adapter.PollRequest(e.opened(job, in))
	if err != nil {
		return q, fmt.Errorf("%w: %w", errUnasked, err)
	}
	if e.wantsBody(in.ID) {
		q.Header.Del("If-None-Match")
	}
	return q, nil
}

// fetchResult asks for the result of a job that is done. What cannot be fetched
// stays where it is: the reading keeps its URL.
func (e *Engine) fetchResult(ctx context.Context, job *Job, in *intent.Intent, q adapter.Request, r intent.Reading) intent.Reading {
	answer, err := e.ask(ctx, job, in, q)
	if err != nil {
		e.log().Warn("fetching the result", "intent", in.ID, "job", in.Job, "err", err)
		return r
	}
	return job.Adapter.ReadFetched(e.opened(job, in), r, answer)
}

// waitAfter is how many polls in a row may fail before observers are told that
// the backend keeps them waiting. One refused connection is not news.
const waitAfter = 3

// wait says in the intent what it waits for, once that is more than a moment.
func (e *Engine) wait(h *held, in intent.Intent, why string) (intent.Intent, []intent.Event) {
	if h.failures+1 < waitAfter {
		return in, nil
	}
	return in.Wait(why, e.store.Now())
}

func gaveUp(r adapter.PollReading, after time.Duration) *intent.Error {
	return &intent.Error{
		Code:     intent.CodeUnreadable,
		Message:  "the status could not be read for " + after.String() + "; the last answer: " + r.Reason,
		Category: intent.ByProtocol,
	}
}

// append stores a change. The store may be away or full: then the intent is left as it
// was.
func (e *Engine) append(ctx context.Context, h *held, s step, after int64, next intent.Intent, events []intent.Event) step {
	if next.Status.Terminal() {
		e.close(&next)
	}
	err := e.store.Append(ctx, store.Change{Intent: next, Epoch: h.lease.Epoch, After: after, Events: events})
	if err != nil {
		e.doubt(h)
		return e.storeFailed(h, s, err)
	}
	return e.appended(h, s, &next, events)
}

// appendOrKeep is append for what a poll came to. If the store does not take it, it is
// kept until it does, and counts; if it cannot be kept, the backend is asked again later.
func (e *Engine) appendOrKeep(ctx context.Context, h *held, s step, after int64, next intent.Intent, events []intent.Event) step {
	if next.Status.Terminal() {
		e.close(&next)
	}
	change := store.Change{Intent: next, Epoch: h.lease.Epoch, After: after, Events: events}
	if _, _, ahead := e.drafted(h); !ahead {
		err := e.store.Append(ctx, change)
		if err == nil {
			return e.appended(h, s, &next, events)
		}
		if settled(err) {
			return e.storeFailed(h, s, err)
		}
		e.complain(h, err)
	}
	if !e.keepChange(h, change) {
		s.again = storeRetry
		return s
	}
	s.news = len(events) > 0
	if s.kept = next.Status.Terminal(); s.kept {
		e.ended(next.ID, s.told, s.started)
		return s
	}
	e.recount(h, &next)
	return s
}

// appended notes that the store has taken a change.
func (e *Engine) appended(h *held, s step, next *intent.Intent, events []intent.Event) step {
	failpoint.Hit(failpoint.Appended)
	e.storeTakes()
	s.news = len(events) > 0
	if next.Status.Terminal() {
		e.ended(next.ID, s.told, s.started)
		e.reportEnd(next)
		s.over = true
		return s
	}
	e.redraft(h, next)
	e.recount(h, next)
	return s
}

// close leaves of an intent that has ended what is kept of it, and notes for how long.
func (e *Engine) close(in *intent.Intent) {
	in.Expires = e.expiry(in, e.store.Now())
	in.Sealed, in.Outgoing = "", nil
}

// storeRetry is the pause after the store refused a read or a write.
const storeRetry = 2 * time.Second

func (e *Engine) storeFailed(h *held, s step, err error) step {
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrFenced):
		s.over = true // somebody else goes on with it, or there is nothing to go on with
	case e.ctx.Err() != nil, errors.Is(err, context.Canceled):
		s.again = storeRetry
	default:
		e.complain(h, err)
		s.again = storeRetry
	}
	return s
}

// complain tells that the store does not work, once, and not at every poll onto a disk
// that is full.
func (e *Engine) complain(h *held, err error) {
	if e.ctx.Err() == nil && e.storeFails.CompareAndSwap(false, true) {
		e.log().Error("the store does not take what polls bring; it is kept until it does", "intent", h.lease.ID, "err", err)
	}
}

// storeTakes notes that the store has taken what a poll brought.
func (e *Engine) storeTakes() {
	if e.storeFails.CompareAndSwap(true, false) {
		e.log().Info("the store takes what polls bring again")
	}
}

// cutOff is a step that came to nothing, since the engine stops or the lease is over:
// nothing that was read half may count.
func (s step) cutOff() step {
	s.health, s.again = unclear, storeRetry
	return s
}

// warnUnknown tells once per job and word which line of config is missing.
func (e *Engine) warnUnknown(in *intent.Intent, word string) {
	if word == "" || word == in.UnknownState || !e.told.first("word", in.Scope, in.Job, word) {
		return
	}
	e.log().Warn("the backend uses a state that the config does not map; it is taken for in_progress",
		"job", in.Job, "intent", in.ID, "state", word,
		"add", "state { completed|failed|canceled|in_progress "+word+" }")
}

// warnRefused tells once per job that the backend names a URL that is not asked.
func (e *Engine) warnRefused(in *intent.Intent, url string) {
	if url != "" && e.told.first("refused", in.Scope, in.Job) {
		e.log().Warn("the backend names the URL of the next poll elsewhere; it is not used",
			"job", in.Job, "intent", in.ID, "url", url, "add", "allow_host <host>")
	}
}

func (e *Engine) reportEnd(in *intent.Intent) {
	e.meter.Ended(in)
	attrs := []any{"intent", in.ID, "job", in.Job, "status", string(in.Status), "seq", in.Seq,
		"duration", in.Updated.Sub(in.Created).Round(time.Millisecond)}
	if in.Error != nil {
		attrs = append(attrs, "code", in.Error.Code)
	}
	e.log().Info("intent ended", attrs...)
}

func (e *Engine) log() *slog.Logger { return e.settings.Load().Logger }

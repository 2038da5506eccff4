package engine

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// MaxKept bounds the body of an answer that is kept to be given to others, and its head
// as [HeadSize] counts it, in bytes.
const MaxKept = 64 << 10

// A Standing is what can be said of a job's status without asking the backend.
type Standing struct {
	State  StandingState
	Answer *adapter.Answer // of the last poll, if it is kept; not to be changed
	Copied bool            // the answer was given to the submitter's credentials: it is for nobody else
	Ends   bool            // the answer says that the job is over
	Unkept bool            // the last poll was answered, in words that cannot be repeated
	Asked  time.Time       // when that poll began
	Since  time.Time       // an answer to what was asked before this is out of date
	Voided time.Time       // and to what was asked until then, worthless; zero for none
}

// A StandingState says what the last answer is worth.
type StandingState uint8

const (
	Unknown StandingState = iota // nothing here speaks for the job: ask the backend
	Current                      // it is valid until the next poll, which is not due yet, or under way
	Due                          // the next poll is due: [Engine.Share] waits for it
	Late                         // the next poll cannot start soon, or the last brought nothing
	Over                         // it is how the job ended
)

// Look tells how an intent stands, for somebody who may see its status. It counts as
// watching for three intervals: who asks again and again is as good as an observer.
func (e *Engine) Look(id intent.ID) Standing {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.holds[id]; h != nil {
		if job := e.settings.Load().Jobs[*h.name]; job != nil {
			e.watch(h, e.now().add(3*job.Pace.Interval))
		}
	}
	e.wish(e.answers.want(id), wantWindow)
	return e.standing(id)
}

// standing is Look without the watching. The caller holds e.mu.
func (e *Engine) standing(id intent.ID) Standing {
	now := e.now()
	entry := e.answers.want(id)
	s := Standing{Answer: entry.answer, Copied: entry.copied, Ends: entry.ends, Unkept: entry.unkept, Asked: e.clock(entry.asked), Since: e.begun}
	if entry.voided > 0 {
		s.Voided = e.clock(entry.voided)
	}
	h := e.holds[id]
	if h == nil || h.ended {
		if entry.ended > 0 && now < entry.ended.add(keptAfterEnd) {
			s.State, s.Since = Over, e.clock(max(entry.last, entry.voided))
			return s
		}
		return entry.elsewhere.standing(s, e, now)
	}
	job := e.settings.Load().Jobs[*h.name]
	if _, parked := e.parked[h]; parked || job == nil {
		return s
	}
	if h.polled != never {
		s.Since = e.clock(h.polled)
	}
	switch {
	case h.failures > 0:
		s.State = Late
	case h.busy:
		s.State = Current
	case h.waiting && e.isDown(job):
		s.State = Late
	case h.waiting || e.queue.slots[h.places[inSchedule]].at <= now:
		s.State = Due
		if job.Adapter.Waits() { // it answers when there is something new, and nobody can wait for that
			s.State = Late
		}
	default:
		s.State = Current
	}
	return s
}

// shareSoon is how long a poll that is due may wait for its turn before those who
// wait for it are better off asking the backend themselves.
const shareSoon = 500 * time.Millisecond

// Share waits for the poll that is due and tells how the intent stands then. However
// many wait, there is one poll, and it comes no sooner than the backend's limits let
// it. One that cannot start soon is Late.
func (e *Engine) Share(ctx context.Context, id intent.ID) Standing {
	over, standing := e.join(id)
	if over == nil {
		return standing
	}
	soon := time.NewTimer(shareSoon)
	defer soon.Stop()
	for {
		select {
		case <-over:
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.standing(id)
		case <-soon.C:
			if !e.underWay(id) {
				e.giveUpOn(id)
				standing.State = Late
				return standing
			}
		case <-ctx.Done():
			standing.State = Late
			return standing
		}
	}
}

// join makes a poll that is due start, and returns what is closed when it is over:
// nil if none is due.
func (e *Engine) join(id intent.ID) (<-chan struct{}, Standing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.standing(id)
	if s.State != Due {
		return nil, s
	}
	if h := e.holds[id]; h != nil && !h.waiting {
		e.plan(h, e.now())
	}
	return e.shares(e.answers.want(id)), s
}

// shares is what is closed when the next step of an intent is over. The caller holds
// e.mu.
func (e *Engine) shares(entry *answerEntry) <-chan struct{} {
	if entry.shared == nil {
		entry.shared = make(chan struct{})
	}
	return entry.shared
}

// tellSharers lets go whoever waits for a step of h. The caller holds e.mu, and lets
// go of it when what the step came to is noted.
func (e *Engine) tellSharers(h *held) {
	if entry := e.answers.wanted(h.lease.ID); entry != nil && entry.shared != nil {
		close(entry.shared)
		entry.shared = nil
	}
}

// tellNews has those told who follow the words of the backend and not events. The
// caller holds e.mu.
func (e *Engine) tellNews(id intent.ID) {
	if entry := e.answers.wanted(id); entry != nil && entry.news {
		if entry.news = false; e.answered != nil {
			e.answered(entry.id)
		}
	}
}

// FirstAnswer waits until an answer to a poll is kept, and tells how the intent stands
// then. Without one after d, or if there will be none, it tells that.
func (e *Engine) FirstAnswer(ctx context.Context, id intent.ID, d time.Duration) Standing {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		e.mu.Lock()
		s, h := e.standing(id), e.holds[id]
		entry := e.answers.want(id)
		if s.Answer != nil || h == nil && !e.wish(entry, wantWindow) {
			e.mu.Unlock()
			return s
		}
		over := e.shares(entry)
		e.mu.Unlock()
		select {
		case <-over:
		case <-ctx.Done():
			return s
		}
	}
}

func (e *Engine) underWay(id intent.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.holds[id]; h != nil {
		return h.busy
	}
	entry := e.answers.wanted(id)
	return entry != nil && entry.elsewhere != nil && e.now() < entry.elsewhere.busy
}

// Void makes what is known of a job's status worthless, because somebody has done
// something to it.
func (e *Engine) Void(id intent.ID) {
	e.mu.Lock()
	e.void(e.answers.want(id))
	e.mu.Unlock()
	e.voidElsewhere(id)
}

// void is Void for this engine. The caller holds e.mu.
func (e *Engine) void(entry *answerEntry) {
	entry.voided, entry.ended = max(e.now(), 1), 0
	e.answers.put(entry, nil, 0)
	if h := e.holds[entry.id]; h != nil {
		e.tellSoon(h)
	}
}

// ErrUnreadable is returned for an answer that says nothing about the job.
var ErrUnreadable = errors.New("the answer tells no status")

// Hear takes an answer that the backend gave to a client's own request for the status,
// and that can be understood: it counts as a poll.
//
// The answer is not kept: it is in words for that client, which may not be the words
// for another.
func (e *Engine) Hear(ctx context.Context, in *intent.Intent, a adapter.Answer, asked time.Time) {
	job := e.settings.Load().Jobs[JobName{Scope: in.Scope, Name: in.Job}]
	if job == nil {
		return
	}
	e.heard(job)
	if in.Status.Terminal() {
		return
	}
	if h := e.seizeIdle(in.ID, e.moment(asked)); h != nil {
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout+job.Pace.Timeout)
		defer done()
		s := e.take(ctx, h, a, e.moment(asked))
		e.mu.Lock()
		defer e.mu.Unlock()
		e.finish(h, s)
	}
}

// Understand reads an answer that was given to a client's own request for the status,
// and changes nothing. Ends says that the job is over. An answer that says nothing about
// a job is ErrUnreadable.
func (e *Engine) Understand(in *intent.Intent, a adapter.Answer) (ends bool, err error) {
	job := e.settings.Load().Jobs[JobName{Scope: in.Scope, Name: in.Job}]
	if job == nil {
		return false, ErrUnreadable
	}
	said := job.readForeign(e.opened(job, in), a)
	if said.Outcome != adapter.Readable {
		return false, ErrUnreadable
	}
	return said.Reading.Status.Terminal(), nil
}

// readForeign reads an answer to a request that was not ours, at the status URL as it
// was when the job was submitted. Its ETag must not be learnt: a poll that then says
// If-None-Match would be told that what it has never seen has not changed.
func (j *Job) readForeign(in *intent.Intent, a adapter.Answer) adapter.PollReading {
	a.Header = a.Header.Clone()
	a.Header.Del("Etag")
	first := *in
	if !j.asksStatusURL(in) {
		first.Memory = ""
	}
	return j.Adapter.ReadPoll(&first, a)
}

// asksStatusURL reports whether a poll would ask what a client asks with a GET of the
// status URL.
func (j *Job) asksStatusURL(in *intent.Intent) bool {
	q, err := j.Adapter.PollRequest(in)
	return err == nil && q.Method == http.MethodGet && q.URL == in.StatusURL
}

// seizeIdle is trySeize for an answer to what was asked at a moment: it leaves alone
// what was polled since, or is being polled.
func (e *Engine) seizeIdle(id intent.ID, asked moment) *held {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.answers.want(id)
	h := e.holds[id]
	if h == nil || h.busy || entry.voids(asked) || h.polled != never && asked <= h.polled || h.deadline <= e.now() {
		return nil
	}
	if e.settings.Load().Jobs[*h.name] == nil {
		return nil
	}
	e.start(h)
	delete(e.parked, h)
	return h
}

// take stores what a client's answer says, as pollOnce does with that of a poll.
func (e *Engine) take(ctx context.Context, h *held, a adapter.Answer, asked moment) step {
	s := step{started: asked, job: e.settings.Load().Jobs[*h.name], outcome: answered}
	if s.job == nil {
		return s
	}
	in, err := e.recall(ctx, h)
	if err != nil {
		return e.storeFailed(h, s, err)
	}
	s.peers = peersOf(s.job, &in)
	if in.Status.Terminal() || !s.job.asksStatusURL(e.opened(s.job, &in)) {
		s.over = in.Status.Terminal()
		return s
	}
	r := s.job.readForeign(e.opened(s.job, &in), a)
	if r.Outcome != adapter.Readable {
		return s
	}
	s.retryAfter = r.RetryAfter
	next := in
	next.Memory, next.Unreadable, next.Missing = r.Memory, 0, 0
	s.tookCancel = e.takeCancel(h, &next)
	if r.Fetch != nil {
		r.Reading = e.fetchResult(ctx, s.job, &in, *r.Fetch, r.Reading)
	}
	s.told = r.Reading.Status.Terminal()
	next, events := next.Apply(r.Reading, e.store.Now())
	if len(events) == 0 && !learnt(&in, &next) {
		return s
	}
	next.Due = e.wall(asked.add(s.job.Pace.Interval))
	return e.appendOrKeep(ctx, h, s, in.Seq, next, events)
}

// keep keeps the answer to a poll, if somebody wants it and it is the answer to what
// they ask.
func (e *Engine) keep(in *intent.Intent, q adapter.Request, a adapter.Answer, r adapter.PollReading, asked moment) {
	if q.Method != http.MethodGet || q.URL != in.StatusURL {
		e.dropAnswer(in.ID) // the job is asked for elsewhere now: what stood here is out of date
		return
	}
	if r.Outcome == adapter.Readable {
		e.keepLocked(in, a, r.Reading.Status.Terminal(), asked)
	}
}

func (e *Engine) dropAnswer(id intent.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if entry := e.answers.wanted(id); entry != nil {
		e.answers.put(entry, nil, 0)
	}
}

func (e *Engine) keepLocked(in *intent.Intent, a adapter.Answer, ends bool, asked moment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.answers.wanted(in.ID)
	switch {
	case entry == nil, entry.voids(asked):
		return
	case a.Code == http.StatusNotModified:
		if entry.answer != nil && entry.answer.Header.Get("Etag") == a.Header.Get("Etag") {
			again := *entry.answer
			again.At = time.Now()
			e.answers.put(entry, &again, asked)
			entry.ends = ends
		}
		return
	case a.Code < 200 || a.Code > 299, a.Cut, len(a.Body) > MaxKept, HeadSize(a.Header) > MaxKept:
		e.answers.put(entry, nil, 0)
		entry.unkept = true
		return
	}
	before := entry.answer
	a.At = time.Now()
	e.answers.put(entry, &a, asked)
	entry.copied, entry.ends = in.Sealed != "", ends
	entry.news = entry.news || before == nil || !bytes.Equal(before.Body, a.Body)
}

// wantsBody reports whether a poll should ask for the whole answer although its ETag
// is known: somebody wants it who has not seen it.
func (e *Engine) wantsBody(id intent.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.answers.wanted(id)
	return entry != nil && entry.answer == nil
}

// ended notes the end of an intent, which the backend told when it was asked at a
// moment. One of our own making is not the backend's word: nothing speaks for the job
// then.
func (e *Engine) ended(id intent.ID, told bool, asked moment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.answers.wanted(id)
	switch {
	case entry == nil:
	case told:
		entry.ended, entry.last = max(e.now(), 1), asked
	default:
		entry.ended = 0
		e.answers.put(entry, nil, 0)
	}
}

// OnAnswer has f called whenever an answer was kept that differs from the one
// before, after its events were stored. It is called before Start. f must return at
// once and must not call the engine.
func (e *Engine) OnAnswer(f func(intent.ID)) { e.answered = f }

// clock and moment translate between the engine's clock and time.Time, whose
// monotonic part is what counts.
func (e *Engine) clock(m moment) time.Time  { return e.begun.Add(time.Duration(m)) }
func (e *Engine) moment(t time.Time) moment { return moment(t.Sub(e.begun)) }

package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A crowdName is what intents have to have in common to share a request. The zero
// value is that of intents that share none.
type crowdName struct {
	job          JobName
	host, scheme string
	key          string // the adapter's own
}

// A crowd is the intents that can share a request. Who is taken along is found
// without a look at the others: they are ordered by when they may be asked, which is
// at most half an interval before they are due and never sooner than the job's
// interval or the backend's Retry-After allows. Guarded by Engine.mu.
type crowd struct {
	name  crowdName
	size  int
	ready heap // those that no step is under way of
	beat  moment
	mass  int // how many were asked about at the beat
}

// A manner is how an intent is polled this time.
type manner uint8

const (
	usual    manner = iota
	alone           // not with others: its batch did not tell
	plainly         // without waiting at the backend: the poll that waited was refused
	waits           // waiting at the backend
	delivers        // not: its submit is delivered
)

// A lesson is what the engine has learnt of a job's backend under these settings.
type lesson struct {
	noBatch moment // ask one by one until then
	noWait  moment // do not wait until then
	garbled int    // batches in a row that told nothing
}

// How long a backend that refuses a batch or a wait is not asked for one, and after
// how many batches in a row that tell nothing it counts as refusing.
const (
	lessonLasts = 10 * time.Minute
	maxGarbled  = 3
)

// peersOf tells who the intent can share a request with.
func peersOf(job *Job, in *intent.Intent) crowdName {
	if job == nil || in.Outgoing != nil || in.Sealed != "" { // whose credentials they are cannot be compared
		return crowdName{}
	}
	key, ok := job.Adapter.BatchKey(in)
	if !ok {
		return crowdName{}
	}
	return crowdName{job: job.JobName, host: in.Host, scheme: in.Scheme, key: key}
}

// enlist makes h one of the crowd, which may be none. The caller holds e.mu.
func (e *Engine) enlist(h *held, n crowdName) {
	old := h.crowd
	if old == nil && n == (crowdName{}) || old != nil && old.name == n {
		return
	}
	if old != nil {
		old.ready.remove(h)
		if old.size--; old.size == 0 {
			delete(e.crowds, old.name)
		}
		h.crowd = nil
	}
	if n == (crowdName{}) {
		return
	}
	c, ok := e.crowds[n]
	if !ok {
		c = &crowd{name: n, ready: heap{of: inCrowd}, beat: e.now()}
		e.crowds[n] = c
	}
	c.size++
	h.crowd = c
}

// seat notes from when on others may take h, which is due at a moment, along. The
// caller holds e.mu.
func (e *Engine) seat(h *held, at moment) {
	if h.crowd == nil {
		return
	}
	job := e.settings.Load().Jobs[*h.name]
	if job == nil || h.polled == never {
		h.crowd.ready.set(h, at)
		return
	}
	soonest := max(at.add(-h.interval/2), h.polled.add(job.Pace.Interval), h.floor)
	h.crowd.ready.set(h, min(soonest, at))
}

// unseat keeps h from being taken along. The caller holds e.mu.
func (e *Engine) unseat(h *held) {
	if h.crowd != nil {
		h.crowd.ready.remove(h)
	}
}

// gather starts the steps of those that go with h, and returns them with it first,
// and the moment that counts as the start. The caller holds e.mu.
func (e *Engine) gather(h *held, job *Job, now moment) ([]*held, moment) {
	c, all := h.crowd, []*held{h}
	if job == nil || c == nil || h.deadline <= now {
		return all, now
	}
	if size := job.Adapter.BatchSize(); h.manner == usual && !e.speaks(h, now) && e.lesson(job.JobName).noBatch <= now {
		for len(all) < size && c.ready.next() <= now {
			m := c.ready.pop()
			_, parked := e.parked[m]
			if parked || m.busy || e.speaks(m, now) || m.manner != usual || m.deadline <= now {
				continue // it has a step of its own under way, or ahead
			}
			e.start(m)
			all = append(all, m)
		}
	}
	return all, c.strike(now, all, job.Pace.Interval)
}

// speaks reports whether clients are answered with what the backend answers about
// h: then it has to be asked what they ask. The caller holds e.mu.
func (e *Engine) speaks(h *held, now moment) bool {
	return h.watched > now && e.answers.wanted(h.lease.ID) != nil
}

// strike notes a request and returns the moment that counts as its start. The beat is
// when the most were asked about, for as long as they go on.
func (c *crowd) strike(now moment, all []*held, interval time.Duration) moment {
	if now.sub(c.beat) < beatWidth {
		c.mass += len(all)
		return c.beat
	}
	goesOn := slices.ContainsFunc(all, func(h *held) bool { return h.polled == c.beat })
	if goesOn || len(all) > c.mass || now.sub(c.beat) > 2*interval {
		c.beat, c.mass = now, len(all)
	}
	return now
}

// beatWidth makes one beat of requests that follow each other as fast as they can be
// started, when more are due than one takes. A timer is no more exact.
const beatWidth = time.Millisecond

// tolerance is the part of an interval by which a poll waits for others.
const tolerance = 10

// inStep puts a poll off by up to a tenth of its interval, until it comes at the
// beat of its crowd: jobs that were submitted at a hundred different moments would
// else need a hundred requests for ever. A crowd of nil has no beat.
func (c *crowd) inStep(due moment, interval time.Duration) moment {
	if c == nil {
		return due
	}
	ahead := c.beat.sub(due) % interval
	if ahead < 0 {
		ahead += interval
	}
	return due.add(min(ahead, interval/tolerance))
}

// lesson returns what is known of a job's backend. The caller holds e.mu.
func (e *Engine) lesson(n JobName) *lesson {
	l, ok := e.lessons[n]
	if !ok {
		l = new(lesson)
		e.lessons[n] = l
	}
	return l
}

// pollTogether asks about all of them in one request and plans what follows. Its
// goroutine is joined by Stop.
func (e *Engine) pollTogether(t turn, all []*held, started moment) {
	ctx, done := e.during(all...)
	steps, b := e.pollTogetherOnce(ctx, all, started)
	done()
	for i, h := range all {
		e.measure(h, &steps[i])
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leave(t, verdict{b.health, b.started, b.retryAfter, b.pace(), all})
	e.learn(b)
	for i, h := range all {
		e.finish(h, steps[i])
	}
}

// A batch is a poll of several intents that is under way.
type batch struct {
	job     *Job
	parties []party
	told    bool // some job was in the answer
	started moment
	code    int // of the answer; 0 if there was none
	reading adapter.BatchReading

	health     health        // of the backend, as the one request showed it
	retryAfter time.Duration // the backend's wish; 0 for none
}

// pace is that of the job; nothing, if it went away meanwhile.
func (b *batch) pace() Pace {
	if b.job == nil {
		return Pace{}
	}
	return b.job.Pace
}

// A party is one of those that a batch asks about.
type party struct {
	h    *held
	in   *intent.Intent
	step *step
}

// pollTogetherOnce asks about all of them once and stores what was said.
func (e *Engine) pollTogetherOnce(ctx context.Context, all []*held, started moment) ([]step, *batch) {
	steps := make([]step, len(all))
	for i := range steps {
		steps[i].started = started
	}
	b := &batch{job: e.settings.Load().Jobs[*all[0].name]}
	e.assemble(ctx, b, all, steps)
	b.started = e.asking(started)
	for i := range steps {
		steps[i].started = b.started
	}
	if len(b.parties) == 0 {
		return steps, b
	}
	asked := e.now()
	code, err := e.askTogether(ctx, b)
	if ctx.Err() != nil {
		for _, p := range b.parties {
			*p.step = p.step.cutOff()
		}
		return steps, b
	}
	b.counted(e.now().sub(asked))
	b.health = said{code: code, reading: adapter.PollReading{Outcome: b.reading.Outcome}, err: err}.health()
	b.code = code
	if first := b.reading.Readings; len(first) > 0 && first[0] != nil {
		b.retryAfter = first[0].RetryAfter
	}
	var next atomic.Int64
	var stored sync.WaitGroup
	for range min(writers, len(b.parties)) {
		stored.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(b.parties); i = next.Add(1) - 1 {
				e.acceptShare(ctx, b, int(i), err)
			}
		})
	}
	stored.Wait()
	return steps, b
}

// counted has the one request count once, for the first of its parties.
func (b *batch) counted(took time.Duration) {
	for i, p := range b.parties {
		p.step.shared = i > 0
		if i == 0 {
			p.step.took = took
		}
	}
}

// writers is how many changes of one batch are stored at the same time: the store
// writes together what comes together.
const writers = 16

// acceptShare stores what the batch, or the error instead of an answer, says about
// one party. Who has to be asked for more goes on alone, on a place of its own.
func (e *Engine) acceptShare(ctx context.Context, b *batch, i int, err error) {
	p, q := b.parties[i], said{err: err, shared: b.code}
	if err == nil {
		r := b.reading.Readings[i]
		if r == nil || r.Fetch != nil {
			p.step.anew = alone
			return
		}
		q.reading = *r
	}
	*p.step = e.accept(ctx, p.h, *p.step, p.in, q)
}

// assemble reads the intents and sorts out who cannot be asked together with the
// first: the config may have changed since they came together.
func (e *Engine) assemble(ctx context.Context, b *batch, all []*held, steps []step) {
	if b.job == nil {
		return
	}
	var common crowdName
	for i, h := range all {
		s := &steps[i]
		s.job = b.job
		in, err := e.recall(ctx, h)
		if err != nil {
			*s = e.storeFailed(h, *s, err)
			continue
		}
		if s.over = in.Status.Terminal(); s.over {
			continue
		}
		s.peers = peersOf(b.job, &in)
		if len(b.parties) == 0 {
			common = s.peers
		}
		if s.peers != common || common == (crowdName{}) {
			s.aside = true
			continue
		}
		b.parties = append(b.parties, party{h, &in, s})
	}
}

// askTogether sends the request, reads the answer and returns its code. Parties that
// the request had no room for leave the batch.
func (e *Engine) askTogether(ctx context.Context, b *batch) (int, error) {
	ins := make([]*intent.Intent, len(b.parties))
	for i, p := range b.parties {
		ins[i] = e.opened(b.job, p.in)
	}
	q, n, err := b.job.Adapter.BatchRequest(ins)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnasked, err)
	}
	for _, p := range b.parties[n:] {
		p.step.aside = true
	}
	b.parties, ins = b.parties[:n], ins[:n]
	answer, err := e.ask(ctx, b.job, ins[0], q)
	if err != nil {
		return 0, err
	}
	b.reading = b.job.Adapter.ReadBatch(ins, answer)
	for _, r := range b.reading.Readings {
		b.told = b.told || r != nil && r.Outcome == adapter.Readable
	}
	return answer.Code, nil
}

// learn notes whether the backend does what the config says of batches. The caller
// holds e.mu.
func (e *Engine) learn(b *batch) {
	if b.job == nil || b.reading.Outcome == 0 || b.reading.Outcome == adapter.Unavailable {
		return
	}
	l := e.lesson(b.job.JobName)
	l.garbled++
	if b.told {
		l.garbled = 0
	}
	if !b.reading.Refused && l.garbled < maxGarbled {
		return
	}
	l.garbled, l.noBatch = 0, e.now().add(lessonLasts)
	if e.told.first("batch", b.job.Scope, b.job.Name) {
		e.log().Warn("the backend does not tell of many jobs at once; they are asked for one by one",
			"job", b.job.Name, "reason", b.reading.Reason, "for", lessonLasts, "check", "poll batch")
	}
}

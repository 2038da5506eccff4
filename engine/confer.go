package engine

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A conference is what replicas that share a store tell each other of their polls, so
// that one poll answers the clients of all. Who wants to be told says so for a while; who
// polls then tells what each poll brought. It is a cache, as [answers] is: what is lost
// on the way costs requests to the backend.
type conference struct {
	store.Teller
	wake chan struct{} // capacity 1: there is something to do; full means that it will be looked for anyway

	// Guarded by Engine.mu.
	wants map[intent.ID]time.Duration // held elsewhere, and asked for here, for how long
	reads map[intent.ID]struct{}      // something was told of these
	tells map[intent.ID]store.Lease   // held here, and wanted elsewhere
}

// How long others are asked to tell of their polls, and how soon again. Who follows a
// stream looks every CheckInterval at least, and one such call may be lost. Who looks once
// wants to know how it stands, and not to have it polled more often.
const (
	wantWindow  = 2*store.CheckInterval + 10*time.Second
	wantRefresh = store.CheckInterval / 2
	wantGlance  = 2 * time.Second
)

// slowPoll is how long a poll takes that others are told of as it begins: they could not
// know whether the answer that they have is still the last one.
const slowPoll = 200 * time.Millisecond

// conferrers is how many calls of the store are under way at the same time.
const conferrers = 16

// Confer has the engine and those of other processes that share the store tell each other
// of their polls. It is called before Start.
func (e *Engine) Confer(t store.Teller) {
	e.conference = &conference{
		Teller: t, wake: make(chan struct{}, 1), wants: make(map[intent.ID]time.Duration),
		reads: make(map[intent.ID]struct{}), tells: make(map[intent.ID]store.Lease),
	}
}

// confer does what is to be done. Start starts it if there are others, Stop ends it.
func (e *Engine) confer() {
	for {
		select {
		case <-e.conference.wake:
			e.conferOnce()
		case <-e.ctx.Done():
			return
		}
	}
}

func (e *Engine) conferOnce() {
	c := e.conference
	e.mu.Lock()
	wants, reads, tells := c.wants, c.reads, c.tells
	c.wants, c.reads, c.tells = make(map[intent.ID]time.Duration), make(map[intent.ID]struct{}), make(map[intent.ID]store.Lease)
	e.mu.Unlock()
	todo := make(chan func()) // whoever is free takes the next
	var all sync.WaitGroup
	for range min(conferrers, len(wants)+len(reads)+len(tells)) {
		all.Go(func() {
			for do := range todo {
				do()
			}
		})
	}
	for id, lease := range tells {
		todo <- func() { e.tell(id, lease) }
	}
	for id := range reads {
		todo <- func() { e.readTold(id) }
	}
	for id, window := range wants {
		todo <- func() { e.want(id, window) }
	}
	close(todo)
	all.Wait()
}

func (c *conference) ring() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// want asks whoever polls an intent to tell of that, and reads what it has told others.
func (e *Engine) want(id intent.ID, window time.Duration) {
	if err := e.conference.Want(e.ctx, id, time.Now().Add(window)); err != nil {
		e.log().Debug("asking another replica to tell of its polls", "intent", id, "err", err)
		return
	}
	e.readTold(id)
}

// hearWanted notes that another replica wants to be told of an intent. It counts as
// watching, as Look does, unless it is a glance. The caller holds e.mu.
func (e *Engine) hearWanted(id intent.ID, until moment) {
	h := e.holds[id]
	if e.conference == nil || h == nil {
		e.rememberEarly(id, interest{watched: until, wanted: until})
		return
	}
	now, entry := e.now(), e.answers.want(id)
	first := entry.wanted <= now
	if until > now.add(wantGlance) {
		if job := e.settings.Load().Jobs[*h.name]; job != nil {
			until = max(until, now.add(3*job.Pace.Interval))
		}
		e.watch(h, until)
	}
	entry.wanted = max(entry.wanted, until)
	if first {
		e.tellSoon(h)
	}
}

// tellSoon has others told of h who want to be. The caller holds e.mu.
func (e *Engine) tellSoon(h *held) {
	if e.conference == nil {
		return
	}
	if entry := e.answers.wanted(h.lease.ID); entry != nil && entry.wanted > e.now() {
		e.conference.tells[h.lease.ID] = h.lease
		e.conference.ring()
	}
}

// noteSlow notes how long a poll of h took. The caller holds e.mu.
func (e *Engine) noteSlow(h *held, took time.Duration) {
	if e.conference == nil {
		return
	}
	if entry := e.answers.wanted(h.lease.ID); entry != nil {
		entry.slow = took > slowPoll
	}
}

// tellOfSlow tells that a step of h begins, if the last one took long. The caller holds
// e.mu.
func (e *Engine) tellOfSlow(h *held) {
	if e.conference == nil {
		return
	}
	if entry := e.answers.wanted(h.lease.ID); entry != nil && entry.slow {
		e.tellSoon(h)
	}
}

// A toldOf is what one replica tells others of the polls of an intent. Several releases can
// share a store: a field keeps its meaning. All times are distances to that of the
// telling; nil for those that there are not.
type toldOf struct {
	Polled   *time.Duration `json:"polled,omitempty"` // since the last poll began
	Next     *time.Duration `json:"next,omitempty"`   // to the next one
	Busy     time.Duration  `json:"busy,omitempty"`   // a poll is under way, for so long at most
	NoWait   bool           `json:"no_wait,omitempty"`
	Unknown  bool           `json:"unknown,omitempty"` // nothing speaks for the job: ask the backend
	Over     bool           `json:"over,omitempty"`    // the intent has ended
	Ended    *time.Duration `json:"ended,omitempty"`   // since a reading ended it
	Failures int            `json:"failures,omitempty"`
	Failing  *time.Duration `json:"failing,omitempty"`
	Down     *time.Duration `json:"down,omitempty"`
	Voided   *time.Duration `json:"voided,omitempty"`
	Unkept   bool           `json:"unkept,omitempty"`
	Answer   *toldAnswer    `json:"answer,omitempty"`
}

// A toldAnswer is the last answer that is kept, but for its body.
type toldAnswer struct {
	Code   int           `json:"code"`
	Header http.Header   `json:"header,omitempty"`
	Asked  time.Duration `json:"asked"`
	At     time.Duration `json:"at"`
	Copied bool          `json:"copied,omitempty"`
	Ends   bool          `json:"ends,omitempty"`
}

// tell tells others how an intent stands whose lease is ours, or was as it ended.
func (e *Engine) tell(id intent.ID, lease store.Lease) {
	e.mu.Lock()
	entry := e.answers.wanted(id)
	if entry == nil {
		e.mu.Unlock()
		return
	}
	at := time.Now()
	said, known := e.say(entry, e.moment(at)), entry.mark
	var body []byte
	if entry.answer != nil {
		body = entry.answer.Body
	}
	e.mu.Unlock()

	t := store.Telling{At: at}
	if said.Answer != nil {
		sum := sha256.Sum256(body)
		t.Mark = base64.RawStdEncoding.EncodeToString(sum[:12])
	}
	t.Words, _ = json.Marshal(said) // of numbers and texts
	whole := t
	if whole.Body = body; body == nil {
		whole.Body = []byte{}
	}
	err := error(store.ErrMissing)
	if t.Mark == "" || t.Mark == known {
		err = e.conference.Tell(e.ctx, lease, t)
	}
	if errors.Is(err, store.ErrMissing) {
		err = e.conference.Tell(e.ctx, lease, whole)
	}
	if err != nil {
		e.log().Debug("telling other replicas of a poll", "intent", id, "err", err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	entry.mark = t.Mark
}

// say says how an intent stands. The caller holds e.mu.
func (e *Engine) say(entry *answerEntry, at moment) toldOf {
	since := func(m moment) *time.Duration { return new(at.sub(m)) }
	t := toldOf{Unkept: entry.unkept}
	if entry.voided > 0 {
		t.Voided = since(entry.voided)
	}
	if a := entry.answer; a != nil {
		t.Answer = &toldAnswer{Code: a.Code, Header: http.Header{}, Asked: at.sub(entry.asked), At: at.sub(e.moment(a.At)), Copied: entry.copied, Ends: entry.ends}
		EndToEnd(t.Answer.Header, a.Header, func(string) bool { return true })
	}
	h := e.holds[entry.id]
	if h == nil {
		if t.Over, t.Unknown = true, entry.ended == 0; entry.ended > 0 {
			t.Ended, t.Polled = since(entry.ended), since(entry.last)
		}
		return t
	}
	job := e.settings.Load().Jobs[*h.name]
	if _, parked := e.parked[h]; parked || job == nil {
		t.Unknown = true
		return t
	}
	if h.polled != never {
		t.Polled = since(h.polled)
	}
	if t.Failures = int(h.failures); h.failures > 0 {
		t.Failing = since(h.failing)
	}
	_, c := e.circuitOf(job)
	if c.state == open {
		t.Down = since(c.down)
	}
	t.NoWait = job.Adapter.Waits() || h.waiting && e.isDown(job)
	switch {
	case h.busy && h.manner == waits:
		t.Busy = store.TellingKept
	case h.busy:
		t.Busy = job.Pace.Timeout
	case h.waiting:
		t.Next = new(c.soonest(at).sub(at))
	default:
		t.Next = new(max(e.queue.slots[h.places[inSchedule]].at, c.soonest(0)).sub(at))
	}
	return t
}

// voidElsewhere has everybody forget what was read of a job. Whoever does not hear of it
// takes it for valid until the next poll.
func (e *Engine) voidElsewhere(id intent.ID) {
	if e.conference == nil {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, voidTimeout)
	defer cancel()
	if err := e.conference.Void(ctx, id); err != nil {
		e.log().Debug("telling other replicas that a job was changed", "intent", id, "err", err)
	}
}

// voidTimeout bounds how long a client's request waits for that.
const voidTimeout = 500 * time.Millisecond

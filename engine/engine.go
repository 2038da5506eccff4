package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// ErrStopping is the cause of contexts that end because the engine does.
var ErrStopping = errors.New("engine is stopping")

// An Engine follows the intents of one store. Make one with [New], then Start it;
// Stop joins all it has started. It may be used before Start: what is submitted
// then is followed from Start on.
type Engine struct {
	store  store.Store
	ledger *ledger   // what the store granted; nil if it grants for ever
	begun  time.Time // what moments count from

	settings atomic.Pointer[Generation]
	told     told

	lastPolls lastPolls

	storeFails atomic.Bool // the last write of a poll failed
	owing      atomic.Bool // so did what was to be written a second time

	ctx     context.Context // ends with Stop; the cause is ErrStopping
	cancel  context.CancelCauseFunc
	loops   sync.WaitGroup // schedule, claim or keepLeases, retain, writeBack, confer
	running sync.WaitGroup // polls
	keeps   chan struct{}  // capacity 1: there is something to be written when the store takes it; full means that writeBack will look anyway
	wake    chan struct{}  // capacity 1: the heap has a new first entry; full means that the schedule will look anyway
	deaf    func()         // ends listening to the store

	answered func(intent.ID) // told of answers that are kept; nil for nobody
	meter    Meter

	conference *conference // nil if nobody else shares the store

	paying latch // while debts are paid: nobody takes over what one is about

	mu          sync.Mutex
	answers     answers
	generations []*Generation
	queue       heap
	alarm       moment // when the schedule looks by itself
	holds       map[intent.ID]*held
	names       map[JobName]*JobName
	tallies     map[*JobName]*tally
	lanes       map[string]*lane
	crowds      map[crowdName]*crowd
	lessons     map[JobName]*lesson
	interrupts  map[*held]context.CancelCauseFunc // end polls that wait at the backend
	debts       []debt
	drafts      int                     // memory of what intents are polled by while the store is away; bytes
	kept        int                     // memory of what the store has not taken; bytes
	unwritten   []*held                 // of which there is some of that; others may be among them
	expiring    int                     // goroutines of expire
	overdue     []*held                 // wait for one of them; busy
	parked      map[*held]struct{}      // their job is in no config; in the heap for their deadline only
	unheld      map[JobName]int         // intents that nobody held when that was last looked at; nil if the store grants for ever
	resting     map[*held]chan struct{} // closed when the step under way is over; only where somebody waits for that
	undelivered map[JobName]int         // submits that wait for the backend, or for the store
	credentials map[JobName][]string    // names of headers that a submit of the job had
	early       map[intent.ID]interest  // before it is held: an observer can be faster than the submit that it follows
}

// New returns an engine for the intents in s. It does nothing yet.
func New(s store.Store) *Engine {
	ctx, cancel := context.WithCancelCause(context.Background())
	e := &Engine{
		begun:       time.Now(),
		meter:       unmetered{},
		alarm:       never,
		ctx:         ctx,
		cancel:      cancel,
		wake:        make(chan struct{}, 1),
		keeps:       make(chan struct{}, 1),
		holds:       make(map[intent.ID]*held),
		names:       make(map[JobName]*JobName),
		tallies:     make(map[*JobName]*tally),
		lanes:       make(map[string]*lane),
		parked:      make(map[*held]struct{}),
		early:       make(map[intent.ID]interest),
		undelivered: make(map[JobName]int),
		credentials: make(map[JobName][]string),
		resting:     make(map[*held]chan struct{}),
		crowds:      make(map[crowdName]*crowd),
		lessons:     make(map[JobName]*lesson),
		interrupts:  make(map[*held]context.CancelCauseFunc),
		paying:      newLatch(),
	}
	e.store = tellingStore{s, e}
	if e.ledger = newLedger(s); e.ledger != nil {
		e.store = tellingStore{e.ledger, e}
	}
	e.settings.Store(noSettings)
	e.deaf = s.Listen(e.hear)
	return e
}

// Start begins to work on what the store holds. It returns at once; intents of an
// earlier life are taken over in the background.
func (e *Engine) Start() {
	if e.ledger != nil {
		e.loops.Go(e.keepLeases)
	} else {
		e.loops.Go(e.claim)
	}
	if e.conference != nil {
		e.loops.Go(e.confer)
	}
	e.loops.Go(e.schedule)
	e.loops.Go(e.retain)
	e.loops.Go(e.writeBack)
}

// Stop ends all polling and waits for it. What was under way is asked again by
// whoever holds the intents next, and so is what the store does not take even then. It may be called more than once, and without
// Start.
func (e *Engine) Stop() {
	e.cancel(ErrStopping)
	e.deaf()
	e.loops.Wait()
	e.running.Wait()
	e.payLast()
	e.writeLast()
	e.releaseAll()
}

// schedule sleeps until the first entry of the heap is due and starts what is.
// Start starts it, Stop ends it.
func (e *Engine) schedule() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(e.startDue())
		select {
		case <-timer.C:
		case <-e.wake:
		case <-e.ctx.Done():
			return
		}
	}
}

// startDue starts every step that is due and returns how long nothing else is.
func (e *Engine) startDue() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	for e.queue.next() <= now {
		if e.ctx.Err() != nil {
			break
		}
		e.begin(e.queue.pop(), now)
	}
	next := e.queue.next()
	for _, l := range e.lanes {
		if l.next <= now {
			e.pump(l)
		}
		next = min(next, l.next)
	}
	e.alarm = next
	return min(next.sub(now), time.Hour)
}

// begin starts the step that h is due for. The caller holds e.mu.
func (e *Engine) begin(h *held, now moment) {
	job := e.settings.Load().Jobs[*h.name]
	switch {
	case now >= h.deadline && (job == nil || h.undelivered || !job.CancelAtDeadline && !h.cancels):
		h.waiting, h.busy = false, true
		e.beginExpiry(h)
	case job == nil && e.yield(h, now):
	case job == nil:
		e.park(h)
	default:
		e.enter(h, job.Backend, now)
	}
}

// Parked reports whether an intent waits for nothing but its deadline, because no config
// has its job: not this one, and, where several share the store, none of those that are
// there, as of a few seconds ago.
func (e *Engine) Parked(in *intent.Intent) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := JobName{Scope: in.Scope, Name: in.Job}
	return !in.Status.Terminal() && e.settings.Load().Jobs[n] == nil && (e.ledger == nil || e.unheld[n] > 0)
}

// park leaves h alone until its deadline or the next change of settings. The
// caller holds e.mu.
func (e *Engine) park(h *held) {
	g := e.settings.Load()
	if g != noSettings && e.told.first("gone", h.name.Scope, h.name.Name) {
		g.Logger.Warn("intents of a job that the config does not have wait for their deadline",
			"scope", h.name.Scope, "job", h.name.Name)
	}
	e.unseat(h)
	e.parked[h] = struct{}{}
	e.place(h, h.deadline)
}

// hear takes the store's signals. It is called by the store and returns at once.
func (e *Engine) hear(s store.Signal) {
	if s.Kind == store.Appended || s.Kind == store.Missed {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	until := e.now().add(time.Until(s.Until.Round(0))) // by the clock of this machine
	switch s.Kind {
	case store.Watched:
		if h, ok := e.holds[s.ID]; ok {
			e.watch(h, until)
		} else {
			e.rememberEarly(s.ID, interest{watched: until})
		}
	case store.Wanted:
		e.hearWanted(s.ID, until)
	case store.Told:
		e.hearTold(s.ID)
	case store.Voided:
		if entry := e.answers.wanted(s.ID); entry != nil {
			e.void(entry)
		}
	}
}

// watch notes that somebody follows h, and pulls the next poll forward to what it
// would be had they always. The caller holds e.mu.
func (e *Engine) watch(h *held, until moment) {
	now := e.now()
	first := h.watched <= now
	h.watched = max(h.watched, until)
	job := e.settings.Load().Jobs[*h.name]
	switch {
	case !first, job == nil, h.busy, h.undelivered:
	case h.waiting:
		e.hurry(h, job.Backend)
	case h.failures > 0, h.polled == never: // at its own pace, or soon
	default:
		if due := max(h.polled.add(job.Pace.watched()), now); due < e.queue.slots[h.places[inSchedule]].at {
			e.plan(h, due)
		}
	}
}

// An interest is until when somebody watches an intent, and another replica wants to be
// told of its polls.
type interest struct{ watched, wanted moment }

// maxEarly bounds what is remembered of watchers of intents that are not held
// (yet): an id that does not exist must not cost memory for ever.
const maxEarly = 4096

func (e *Engine) rememberEarly(id intent.ID, i interest) {
	for other := range e.early {
		if len(e.early) < maxEarly {
			break
		}
		delete(e.early, other)
	}
	known := e.early[id]
	e.early[id] = interest{max(known.watched, i.watched), max(known.wanted, i.wanted)}
}

func (e *Engine) wakeLocked() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *Engine) now() moment { return moment(time.Since(e.begun)) }

// at turns a time that is stored into a moment, once: from then on the engine's own
// clock counts.
func (e *Engine) at(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return e.now().add(t.Round(0).Sub(e.store.Now()))
}

func (e *Engine) wall(m moment) time.Time {
	if m == never {
		return time.Time{}
	}
	return e.store.Now().Add(m.sub(e.now()))
}

// claimBatch bounds how many intents are in memory while they are taken over.
const claimBatch = 1000

// claim takes over what the store holds from an earlier life. Start starts it; it
// ends when there is nothing more, or with Stop.
func (e *Engine) claim() {
	for e.ctx.Err() == nil {
		batch, err := e.store.Claim(e.ctx, claimBatch)
		if err != nil {
			e.log().Error("claiming intents", "err", err)
			if !e.sleep(claimRetry) {
				return
			}
			continue
		}
		for i := range batch {
			e.resume(&batch[i])
		}
		if len(batch) < claimBatch {
			return
		}
	}
}

const claimRetry = 5 * time.Second

// resume goes on with a claimed intent. What came due while nobody worked is
// spread over one interval, so that a start does not hammer the backend.
func (e *Engine) resume(h *store.Held) {
	failpoint.Hit(failpoint.Claimed)
	switch {
	case h.Intent.Reserved() && h.Intent.Outgoing != nil:
		e.dropUnsent(e.ctx, h)
		return
	case h.Intent.Reserved():
		e.endUncertain(e.ctx, h)
		return
	}
	ready := e.at(h.Intent.Due)
	due := ready
	if now := e.now(); due < now {
		due = now.add(e.paceOf(JobName{Scope: h.Intent.Scope, Name: h.Intent.Job}).spread())
	}
	e.holdSpread(h.Lease, &h.Intent, ready, due)
}

// endUncertain ends a reservation whose request has no answer: whether the backend has
// the job cannot be known.
func (e *Engine) endUncertain(ctx context.Context, h *store.Held) {
	failpoint.Hit(failpoint.Uncertain)
	now := e.store.Now()
	in, events := h.Intent.Begin(now)
	why := uncertain("the request was sent and its answer was not received")
	in, last := in.End(intent.Failed, intent.Details{Error: &why}, now)
	e.close(&in)
	change := store.Change{Intent: in, Epoch: h.Epoch, Events: append(events, last...)}
	err := e.pay(ctx, debt{in.ID, func(ctx context.Context) error {
		if err := e.store.Append(ctx, change); err != nil {
			return err
		}
		e.reportEnd(&in)
		return nil
	}})
	if err != nil {
		e.log().Error("ending a submit of unknown outcome", "intent", in.ID, "err", err)
	}
}

// sleep waits for d, or returns false because the engine stops.
func (e *Engine) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.ctx.Done():
		return false
	}
}

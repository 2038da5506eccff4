package webhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// A Target is where a message goes.
type Target struct {
	URL          string
	Secret       Secret
	AllowPrivate bool // also to addresses that only we can reach
}

// ErrNoTarget is returned by a lookup for a recipient that is not known (any more).
var ErrNoTarget = errors.New("the config has no such webhook any more")

// An Outbox is where messages wait. Every store is one.
type Outbox interface {
	Collect(ctx context.Context, now, until time.Time, n int) ([]store.Message, error)
	Keep(ctx context.Context, m store.Message) error
	Discard(ctx context.Context, id store.MessageID) error
	Messages(ctx context.Context, after store.MessageID, n int) ([]store.Message, error)
	Now() time.Time
}

// Config is what a [Sender] works with. All but Sent is needed.
type Config struct {
	Outbox Outbox
	Lookup func(m *store.Message) (Target, error) // who the recipient is, as the config is now
	Logger func() *slog.Logger
	Sent   func(Outcome) // told of every try, if set
}

// An Outcome is what became of a try.
type Outcome string

const (
	Taken     Outcome = "taken"
	Postponed Outcome = "postponed" // there will be another try
	Dropped   Outcome = "dead"      // there will be none
)

// Outcomes lists them all.
func Outcomes() []Outcome { return []Outcome{Taken, Postponed, Dropped} }

// Pace of the tries of a message. With maxTries they go on for a day.
const (
	firstPause = 5 * time.Second
	growth     = 3
	maxPause   = 4 * time.Hour
	maxTries   = 14
	keepDead   = 30 * 24 * time.Hour // for an operator to look at
)

const (
	lookEvery      = 5 * time.Second
	lookWhenBehind = time.Second
	lookAtMost     = 200 * time.Millisecond // between two looks, however much is going on
	collectAtOnce  = 256
	lease          = sendTimeout + time.Minute // of a message that was collected
	cleanEvery     = time.Hour
	cleanAtOnce    = 200
	outboxTime     = 10 * time.Second
	maxKeeping     = 64 // at the same time: a store makes one sync of them
)

// A Sender delivers messages. Make it with [New], then Start it; Stop joins all it has
// started.
type Sender struct {
	Config
	ways   map[bool]http.RoundTripper // by whether private addresses are allowed
	wake   chan struct{}              // capacity 1: full means that it will look anyway
	ctx    context.Context
	cancel context.CancelFunc
	loops  sync.WaitGroup
	trying sync.WaitGroup
	hosts  hosts
}

// New returns a Sender that does nothing yet.
func New(c Config) *Sender {
	ctx, cancel := context.WithCancel(context.Background())
	return &Sender{
		Config: c,
		ways:   map[bool]http.RoundTripper{false: newTransport(false), true: newTransport(true)},
		wake:   make(chan struct{}, 1),
		ctx:    ctx,
		cancel: cancel,
		hosts:  hosts{known: make(map[string]*host)},
	}
}

// Start begins to deliver.
func (s *Sender) Start() {
	s.loops.Go(s.deliver)
	s.loops.Go(s.clean)
}

// Stop ends all tries and waits for them. What was cut off is sent again by whoever
// collects it next. It may be called more than once, and without Start.
func (s *Sender) Stop() {
	s.cancel()
	s.loops.Wait()
	s.trying.Wait()
	var waiting []store.Message
	for _, p := range s.hosts.empty() {
		p.message.Due = s.Outbox.Now()
		waiting = append(waiting, p.message)
	}
	s.keepAll(waiting)
	for _, way := range s.ways {
		if t, ok := way.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

// Wake says that there may be a message.
func (s *Sender) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// deliver looks for what is due. Start starts it, Stop ends it.
func (s *Sender) deliver() {
	for {
		for s.deliverOnce(s.ctx) {
		}
		if !s.sleep(lookAtMost) {
			return
		}
		pause := lookEvery
		if s.hosts.behind(s.Outbox.Now()) {
			pause = lookWhenBehind
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (s *Sender) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ctx.Done():
		return false
	}
}

// deliverOnce starts a try of what is due, as far as there is room, and reports whether
// there may be more. What it cannot try is due later: those behind it have their turn.
func (s *Sender) deliverOnce(ctx context.Context) (more bool) {
	now := s.Outbox.Now()
	messages, err := s.Outbox.Collect(ctx, now, now.Add(lease), collectAtOnce)
	if err != nil {
		if ctx.Err() == nil {
			s.Logger().Error("collecting webhook messages", "err", err)
		}
		return false
	}
	var later []store.Message
	for _, m := range messages {
		if !s.begin(ctx, &m, now.Add(lease)) {
			later = append(later, m)
		}
	}
	s.keepAll(later)
	return len(messages) == collectAtOnce
}

// begin starts a try or has the message wait for its turn. Else it has changed the
// message, which is to be kept.
func (s *Sender) begin(ctx context.Context, m *store.Message, till time.Time) bool {
	target, err := s.Lookup(m)
	if err != nil {
		s.miss(m, err.Error())
		return false
	}
	p := parcel{message: *m, target: target, host: hostOf(target.URL), lease: till}
	switch v, until, why := s.hosts.admit(p, s.Outbox.Now()); v {
	case sendIt:
		s.trying.Go(func() { s.try(ctx, p) })
	case putBack:
		m.Due = until
		return false
	case heldBack:
		s.postpone(m, heldFailure+why, until)
		return false
	}
	return true
}

const heldFailure = "its host is held off: "

// miss postpones a message whose recipient the config does not have. A reload may bring
// it back, and another Caddy may know it: the first time costs nothing.
func (s *Sender) miss(m *store.Message, why string) {
	if m.Failure == why {
		s.postpone(m, why, time.Time{})
		return
	}
	m.Failure = why
	m.Due = s.Outbox.Now().Add(pause(max(m.Attempts, 1)))
	s.report(Postponed)
}

// try sends a message once, and starts what has waited for that. Its goroutine is joined
// by Stop.
func (s *Sender) try(ctx context.Context, p parcel) {
	m, began := p.message, s.Outbox.Now()
	a := s.send(ctx, &m, p.target)
	if !a.taken && ctx.Err() != nil { // we stop: that says nothing about the receiver
		m.Due = s.Outbox.Now()
		s.hosts.stopped(p.host, m.Due)
		s.keep(m)
		return
	}
	now := s.Outbox.Now()
	held, until, why := s.hosts.done(p.host, a, now.Sub(began), now)
	for next, ok := s.hosts.next(now); ok; next, ok = s.hosts.next(now) {
		s.trying.Go(func() { s.try(ctx, next) })
	}
	switch {
	case a.taken:
		s.discard(m)
		s.report(Taken)
	case a.gone:
		s.bury(&m, a.failure)
		s.keep(m)
	default:
		s.postpone(&m, a.failure, now.Add(a.retryAfter))
		s.keep(m)
	}
	var later []store.Message
	for _, p := range held {
		s.postpone(&p.message, heldFailure+why, until)
		later = append(later, p.message)
	}
	s.keepAll(later)
}

// postpone counts a try that came to nothing: there will be another, not before the time
// told, or there were enough.
func (s *Sender) postpone(m *store.Message, why string, notBefore time.Time) {
	if m.Attempts+1 >= maxTries {
		s.bury(m, why)
		return
	}
	m.Attempts++
	m.Failure = why
	if m.Due = s.Outbox.Now().Add(pause(m.Attempts)); m.Due.Before(notBefore) {
		m.Due = notBefore
	}
	s.Logger().Debug("a webhook was not taken", "intent", m.Intent, "seq", m.Seq, "attempt", m.Attempts, "failure", why)
	s.report(Postponed)
}

// pause is the time from a try to the next.
func pause(attempts int) time.Duration {
	d := firstPause
	for range min(attempts-1, 20) {
		d = min(d*growth, maxPause)
	}
	return d + rand.N(d/5)
}

// bury gives a message up. It stays, for an operator to look at and send again.
func (s *Sender) bury(m *store.Message, why string) {
	m.Attempts++
	m.Dead, m.Failure = true, why
	m.Due = s.Outbox.Now()
	s.Logger().Error("a webhook was given up", "intent", m.Intent, "job", m.Job, "seq", m.Seq, "attempt", m.Attempts, "failure", why)
	s.report(Dropped)
}

func (s *Sender) report(o Outcome) {
	if s.Sent != nil {
		s.Sent(o)
	}
}

// keep notes what became of a message. If that cannot be, it is due again by itself.
func (s *Sender) keep(m store.Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), outboxTime)
	defer cancel()
	if err := s.Outbox.Keep(ctx, m); err != nil && !errors.Is(err, store.ErrNotFound) {
		s.Logger().Error("noting what became of a webhook", "intent", m.Intent, "seq", m.Seq, "err", err)
	}
}

// keepAll keeps many at the same time.
func (s *Sender) keepAll(messages []store.Message) {
	var keeping sync.WaitGroup
	for part := range slices.Chunk(messages, maxKeeping) {
		for _, m := range part {
			keeping.Go(func() { s.keep(m) })
		}
		keeping.Wait()
	}
}

func (s *Sender) discard(m store.Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), outboxTime)
	defer cancel()
	if err := s.Outbox.Discard(ctx, m.MessageID); err != nil {
		s.Logger().Error("discarding a webhook that was taken; it is sent again", "intent", m.Intent, "seq", m.Seq, "err", err)
	}
}

// clean removes dead messages that nobody has cared for. Start starts it, Stop ends it.
func (s *Sender) clean() {
	for s.sleep(cleanEvery) {
		s.cleanOnce(s.ctx)
	}
}

func (s *Sender) cleanOnce(ctx context.Context) {
	var after store.MessageID
	for {
		page, err := s.Outbox.Messages(ctx, after, cleanAtOnce)
		if err != nil || len(page) == 0 {
			return
		}
		for _, m := range page {
			after = m.MessageID
			if m.Dead && s.Outbox.Now().Sub(m.Due) > keepDead {
				s.discard(m)
			}
		}
	}
}

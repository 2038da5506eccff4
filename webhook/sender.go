package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

// Bounds of what is under way at the same time: one receiver that hangs must not keep
// the others waiting.
const (
	maxSending      = 64
	maxSendingToOne = 8
	yield           = 2 * time.Second // until a message has its turn whose receiver has enough
)

const (
	lookEvery   = 5 * time.Second
	lookAtMost  = 200 * time.Millisecond // between two looks, however much is going on
	cleanEvery  = time.Hour
	cleanAtOnce = 200
	outboxTime  = 10 * time.Second
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

	mu      sync.Mutex
	sending int
	to      map[string]int // of those, by host
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
		to:     make(map[string]int),
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
		more := s.deliverOnce(s.ctx)
		pause := lookEvery
		if more {
			pause = 0
		}
		if !s.sleep(lookAtMost) {
			return
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
// there may be more.
func (s *Sender) deliverOnce(ctx context.Context) (more bool) {
	s.mu.Lock()
	room := maxSending - s.sending
	s.mu.Unlock()
	if room <= 0 {
		return true
	}
	now := time.Now()
	messages, err := s.Outbox.Collect(ctx, now, now.Add(sendTimeout+time.Minute), room)
	if err != nil {
		if ctx.Err() == nil {
			s.Logger().Error("collecting webhook messages", "err", err)
		}
		return false
	}
	for _, m := range messages {
		s.begin(ctx, m)
	}
	return len(messages) == room
}

// begin starts a try, unless the receiver has enough of them.
func (s *Sender) begin(ctx context.Context, m store.Message) {
	target, err := s.Lookup(&m)
	if err != nil {
		s.bury(m, err.Error())
		return
	}
	host := hostOf(target.URL)
	s.mu.Lock()
	full := s.to[host] >= maxSendingToOne
	if !full {
		s.to[host]++
		s.sending++
	}
	s.mu.Unlock()
	if full {
		m.Due = time.Now().Add(yield)
		s.keep(m)
		return
	}
	s.trying.Go(func() { s.try(ctx, m, target, host) })
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// try sends a message once. Its goroutine is joined by Stop.
func (s *Sender) try(ctx context.Context, m store.Message, target Target, host string) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sending--
		if s.to[host]--; s.to[host] == 0 {
			delete(s.to, host)
		}
	}()
	a := s.send(ctx, &m, target)
	switch {
	case a.taken:
		s.discard(m)
		s.report(Taken)
	case ctx.Err() != nil: // we stop: that says nothing about the receiver
		m.Due = time.Now()
		s.keep(m)
	case a.gone, m.Attempts+1 >= maxTries:
		s.bury(m, a.failure)
	default:
		m.Attempts++
		m.Failure = a.failure
		m.Due = time.Now().Add(max(pause(m.Attempts), a.retryAfter))
		s.Logger().Debug("a webhook was not taken", "intent", m.Intent, "seq", m.Seq, "attempt", m.Attempts, "failure", a.failure)
		s.keep(m)
		s.report(Postponed)
	}
}

// pause is the time from a try to the next.
func pause(attempts int) time.Duration {
	d := firstPause
	for range min(attempts-1, 20) {
		d = min(d*growth, maxPause)
	}
	return d + rand.N(d/5)
}

// An attempt is what came of sending.
type attempt struct {
	taken      bool
	gone       bool // the receiver wants no more
	failure    string
	retryAfter time.Duration
}

const maxRetryAfter = time.Hour

func (s *Sender) send(ctx context.Context, m *store.Message, target Target) attempt {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	body, err := bodyOf(m)
	if err != nil {
		return attempt{gone: true, failure: err.Error()}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL, strings.NewReader(string(body)))
	if err != nil {
		return attempt{gone: true, failure: "its URL cannot be used"}
	}
	id, now := IDOf(m.MessageID), time.Now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "caddy-intents")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("Webhook-Signature", target.Secret.sign(id, now, body))
	resp, err := s.ways[target.AllowPrivate].RoundTrip(r) // a redirect is an answer like any other
	if err != nil {
		return attempt{failure: why(err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // for the connection's sake
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return attempt{taken: true}
	case resp.StatusCode == http.StatusGone: // so Standard Webhooks: no more of them
		return attempt{gone: true, failure: "it answered 410: it wants no more"}
	}
	a := attempt{failure: fmt.Sprintf("it answered %d", resp.StatusCode)}
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 64); err == nil {
		a.retryAfter = time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	return a
}

// why says why there was no answer, without the URL, which may hold a secret.
func why(err error) string {
	switch {
	case errors.Is(err, ErrPrivate):
		return ErrPrivate.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer within " + sendTimeout.String()
	}
	return "it could not be reached"
}

// bury gives a message up. It stays, for an operator to look at and send again.
func (s *Sender) bury(m store.Message, why string) {
	m.Attempts++
	m.Dead, m.Failure = true, why
	m.Due = time.Now()
	s.Logger().Error("a webhook was given up", "intent", m.Intent, "job", m.Job, "seq", m.Seq, "attempt", m.Attempts, "failure", why)
	s.keep(m)
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
			if m.Dead && time.Since(m.Due) > keepDead {
				s.discard(m)
			}
		}
	}
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// How long it takes from an event being stored to each observer having read it: in
// ours from the signal that follows the commit, through the hub, a read from the
// store and the encoding of a frame; in a bare Go server of event streams from the
// moment it sets out to hand a ready frame from memory to every stream. Both are in
// this process, over real sockets, with the same streams, events, signs of life and
// clients.
const (
	latencyRound = 3 * time.Second
	latencyLimit = 1.5
)

// A shape is how streams and events are spread.
type shape struct {
	name       string
	topics     int // intents, to the bare server
	observers  int // of each topic
	publishers int // each has its share of the topics
	every      time.Duration
}

var shapes = []shape{
	{"one observer each", 1000, 1, 8, 20 * time.Millisecond},
	{"100 observers of one", 4, 100, 4, 100 * time.Millisecond},
}

// A feed is a server of event streams, and the one that makes the events.
type feed interface {
	// happen makes the next event of a topic. Events of one topic are made one
	// after another.
	happen(ctx context.Context, topic int) error
	addr() string
	path(topic int) string
	stop()
}

// clocks knows when each event of each topic was stored.
type clocks struct {
	mu     sync.Mutex
	stored [][]time.Time // by topic, in order
}

func newClocks(topics int) *clocks { return &clocks{stored: make([][]time.Time, topics)} }

func (c *clocks) stamp(topic int) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored[topic] = append(c.stored[topic], now)
}

// since is how long ago an event was stored. A stream that reads the store for an
// earlier event can be ahead of the signal: then it was not late at all.
func (c *clocks) since(topic, event int, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if event >= len(c.stored[topic]) {
		return 0
	}
	return now.Sub(c.stored[topic][event])
}

func measureLatency(ctx context.Context, b *bench) error {
	for i, s := range shapes {
		s.topics = max(b.sized(s.topics), s.publishers)
		b.about("latency", "%s: %d streams, %.0f events/s, %s a round", s.name, s.topics*s.observers,
			float64(s.publishers)/s.every.Seconds(), latencyRound)
		if err := b.measureShape(ctx, s, fmt.Sprintf("latency-%d.db", i)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureShape(ctx context.Context, s shape, file string) error {
	bareClocks, ownClocks := newClocks(s.topics), newClocks(s.topics)
	bare, err := newBareFeed(s.topics, bareClocks)
	if err != nil {
		return err
	}
	defer bare.stop()
	own, err := newOwnFeed(ctx, b.path(file), s.topics, ownClocks)
	if err != nil {
		return err
	}
	defer own.stop()
	theirs, err := b.follow(bare, s, bareClocks)
	if err != nil {
		return err
	}
	defer theirs.leave()
	ours, err := b.follow(own, s, ownClocks)
	if err != nil {
		return err
	}
	defer ours.leave()

	var r, middle rounds
	for round := range b.rounds + 1 {
		late, err := theirs.round(ctx)
		if err != nil {
			return err
		}
		ownLate, err := ours.round(ctx)
		if err != nil {
			return err
		}
		if round > 0 { // the first one warms up
			r.add(float64(percentile(ownLate, 0.99)), float64(percentile(late, 0.99)))
			middle.add(float64(percentile(ownLate, 0.5)), float64(percentile(late, 0.5)))
		}
	}
	b.results = append(b.results, result{
		what:     "event to observer, p99, " + s.name,
		ours:     fmt.Sprintf("%s (p50 %s)", micros(median(r.ours)), micros(median(middle.ours))),
		baseline: fmt.Sprintf("bare server %s (p50 %s)", micros(median(r.baseline)), micros(median(middle.baseline))),
		ratio:    r.ratio(), limit: latencyLimit,
	})
	return nil
}

// An audience is all observers of one feed.
type audience struct {
	feed      feed
	shape     shape
	random    *rand.Rand
	clients   []*client
	reading   sync.WaitGroup
	mu        sync.Mutex
	late      []time.Duration
	received  atomic.Int64
	published atomic.Int64
}

// follow opens all streams and returns when each has its head.
func (b *bench) follow(f feed, s shape, c *clocks) (*audience, error) {
	clients, err := dialAll(f.addr(), s.topics*s.observers)
	if err != nil {
		return nil, err
	}
	a := &audience{feed: f, shape: s, random: b.random, clients: clients}
	for i, cl := range clients {
		topic := i % s.topics
		resp, err := cl.send(get(f.path(topic)), http.StatusOK)
		if err != nil {
			a.leave()
			return nil, err
		}
		a.reading.Go(func() {
			events := newFrames(resp.Body)
			for n := 0; events.next() == nil; n++ {
				d := c.since(topic, n, time.Now())
				a.mu.Lock()
				a.late = append(a.late, d)
				a.mu.Unlock()
				a.received.Add(1)
			}
		})
	}
	return a, nil
}

// round has events happen for a while, waits until everybody has all of them, and
// returns how late each was.
func (a *audience) round(ctx context.Context) ([]time.Duration, error) {
	begun := time.Now()
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for p := range a.shape.publishers {
		phase := time.Duration(a.random.Int64N(int64(a.shape.every)))
		all.Go(func() {
			if pause(ctx, phase) != nil {
				return // settle finds out
			}
			tick := time.NewTicker(a.shape.every)
			defer tick.Stop()
			for topic := p; time.Since(begun) < latencyRound; topic += a.shape.publishers {
				if topic >= a.shape.topics {
					topic = p
				}
				if err := a.feed.happen(ctx, topic); err != nil {
					failed.Store(&err)
					return
				}
				a.published.Add(1)
				<-tick.C
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return a.settle(ctx)
}

// settle waits for what is on its way.
func (a *audience) settle(ctx context.Context) ([]time.Duration, error) {
	const patience = 10 * time.Second
	want := a.published.Load() * int64(a.shape.observers)
	for begun := time.Now(); a.received.Load() < want; {
		if time.Since(begun) > patience {
			return nil, fmt.Errorf("observers have received %d of %d events", a.received.Load(), want)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	late := a.late
	a.late = nil
	return late, nil
}

func (a *audience) leave() {
	closeAll(a.clients)
	a.reading.Wait()
}

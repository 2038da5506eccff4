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
// ours from the signal that follows the commit, through the hub and the making of a
// frame; in a bare Go server of event streams from the moment it sets out to hand a ready
// frame from memory to every stream. Both are in this process, over real sockets, with the
// same streams, events, signs of life and clients.
//
// The bare server is there twice. Once nothing is stored. Once it is told by the signals
// of a store of its own, of as many events: then what the commits do to whatever runs beside
// them, and that what waits for one of them is stored at once, is on both sides, and what
// is left is our way to the observer.
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
		if err := b.measureShape(ctx, s, fmt.Sprintf("latency-%d", i)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureShape(ctx context.Context, s shape, name string) error {
	bareClocks, toldClocks, ownClocks := newClocks(s.topics), newClocks(s.topics), newClocks(s.topics)
	bare, err := newBareFeed(s.topics, bareClocks)
	if err != nil {
		return err
	}
	defer bare.stop()
	told, err := newToldFeed(ctx, b.path(name+"-told.db"), s.topics, toldClocks)
	if err != nil {
		return err
	}
	defer told.stop()
	own, err := newOwnFeed(ctx, b.path(name+".db"), s.topics, ownClocks)
	if err != nil {
		return err
	}
	defer own.stop()
	feeds, clocks := []feed{bare, told, own}, []*clocks{bareClocks, toldClocks, ownClocks}
	audiences := make([]*audience, len(feeds))
	for i, f := range feeds {
		if audiences[i], err = b.follow(f, s, clocks[i]); err != nil {
			return err
		}
		defer audiences[i].leave()
	}

	var alone, beside latencies
	for round := range b.rounds + 1 {
		var late [3][]time.Duration
		for i, a := range audiences {
			if late[i], err = a.round(ctx); err != nil {
				return err
			}
		}
		if round > 0 { // the first one warms up
			alone.add(late[2], late[0])
			beside.add(late[2], late[1])
		}
	}
	b.results = append(b.results,
		alone.result("event to observer, p99, "+s.name, "bare server"),
		beside.result("the same, beside a store", "bare server"))
	return nil
}

// latencies collects how late the events of each round were.
type latencies struct{ last, middle rounds }

func (l *latencies) add(ours, baseline []time.Duration) {
	l.last.add(float64(percentile(ours, 0.99)), float64(percentile(baseline, 0.99)))
	l.middle.add(float64(percentile(ours, 0.5)), float64(percentile(baseline, 0.5)))
}

func (l *latencies) result(what, baseline string) result {
	return result{
		what:     what,
		ours:     fmt.Sprintf("%s (p50 %s)", micros(median(l.last.ours)), micros(median(l.middle.ours))),
		baseline: fmt.Sprintf("%s %s (p50 %s)", baseline, micros(median(l.last.baseline)), micros(median(l.middle.baseline))),
		ratio:    l.last.ratio(), limit: latencyLimit,
	}
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

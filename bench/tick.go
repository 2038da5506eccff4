package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// What a poll of a few due intents costs the engine while it holds a million that
// are not due, against a thousand. Each engine has a process of its own, with a
// store in memory and a backend that answers at once, and polls one intent after
// another as fast as it can while it is its turn.
const (
	tickFew   = 1000
	tickMany  = 1_000_000
	tickDue   = 16
	tickRound = time.Second
	tickLimit = 1.5
)

func measureTick(ctx context.Context, b *bench) error {
	few, many := b.sized(tickFew), b.sized(tickMany)
	b.about("tick", "%d due intents polled in turn, beside %d and beside %d that are not due, %s a round", tickDue, few, many, tickRound)
	base, err := b.start(ctx, "tick-few", "tick", strconv.Itoa(few))
	if err != nil {
		return err
	}
	defer base.kill()
	crowded, err := b.start(ctx, "tick-many", "tick", strconv.Itoa(many))
	if err != nil {
		return err
	}
	defer crowded.kill()
	var r rounds
	for round := range b.rounds + 1 {
		var alone, beside float64
		if err := base.ask("poll", &alone); err != nil {
			return err
		}
		if err := crowded.ask("poll", &beside); err != nil {
			return err
		}
		if round > 0 { // the first one warms up
			r.add(beside, alone)
		}
	}
	b.results = append(b.results, result{
		what:     fmt.Sprintf("poll beside %d intents not due", many),
		ours:     fmt.Sprintf("%.1f us", median(r.ours)/1e3),
		baseline: fmt.Sprintf("beside %d: %.1f us", few, median(r.baseline)/1e3),
		ratio:    r.ratio(), limit: tickLimit,
	})
	return nil
}

// playTick answers each line with the time that a poll takes, in nanoseconds.
func playTick(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	backend := &gated{chatter: chatter{mute: true}}
	backend.gate.Lock()
	pace := engine.DefaultPace
	pace.Interval, pace.MaxInterval, pace.Jitter, pace.Timeout = 1, 1, 0, time.Hour
	g, err := settings(backend, pace, 1, 1e9)
	if err != nil {
		return err
	}
	crowd := &crowdedStore{Store: memstore.New(), left: n}
	if err := crowd.addDue(tickDue); err != nil {
		return err
	}
	s := &claimedStore{Store: crowd, done: make(chan struct{})}
	e := engine.New(s)
	e.Use(g)
	e.Start()
	defer e.Stop()
	<-s.done
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		before, begun := backend.asked.Load(), time.Now()
		backend.gate.Unlock()
		time.Sleep(tickRound)
		backend.gate.Lock()
		if err := answer(float64(time.Since(begun)) / float64(backend.asked.Load()-before)); err != nil {
			return err
		}
	}
	return nil
}

// A gated backend answers only while it is open.
type gated struct {
	chatter
	gate sync.Mutex
}

func (g *gated) Send(w http.ResponseWriter, r *http.Request) error {
	g.gate.Lock()
	defer g.gate.Unlock()
	return g.chatter.Send(w, r)
}

// A crowdedStore has, besides what is in it, intents that exist only when they are
// claimed. They come due in a year or so, when nobody asks for them any more.
type crowdedStore struct {
	store.Store
	left int
}

// addDue adds intents that are due.
func (s *crowdedStore) addDue(n int) error {
	for i := range n {
		in, events := runningIntent(time.Now(), i)
		held, err := s.Create(context.Background(), in, events)
		if err != nil {
			return err
		}
		if err := s.Release(context.Background(), held.Lease); err != nil {
			return err
		}
	}
	return nil
}

func (s *crowdedStore) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	held, err := s.Store.Claim(ctx, n, of...)
	for ; err == nil && s.left > 0 && len(held) < n; s.left-- {
		now := time.Now()
		in, _ := runningIntent(now, s.left)
		in.Due = now.Add(365*24*time.Hour + time.Duration(s.left)*time.Millisecond)
		in.Deadline = in.Due.Add(time.Hour)
		held = append(held, store.Held{Lease: store.Lease{ID: in.ID, Epoch: 1}, Intent: in})
	}
	return held, err
}

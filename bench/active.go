package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// Active intents on one node: how much memory a million of them take, file pages
// not counted, and how soon after a start the engine has a hundred thousand of them
// in hand, with the file in the page cache. The process is a store and an engine,
// which polls some hundred intents a second meanwhile, each with something new.
const (
	activeCount  = 1_000_000
	activeMemory = 1 << 30 // bytes
	readyCount   = 100_000
	readyTime    = 2 * time.Second
	activeRun    = 10 * time.Second
	activeRate   = 1000.0 // polls a second
	dueWithin    = time.Hour
)

// inHand is what a process answers that has opened a store.
type inHand struct {
	Held          int
	Opened, Ready time.Duration // until the file was open, and until all were held
	Anonymous     int           // bytes, the most that was seen
	Polls         int64
}

func measureActive(ctx context.Context, b *bench) error {
	if err := b.measureReady(ctx); err != nil {
		return err
	}
	return b.measureMemory(ctx)
}

func (b *bench) measureReady(ctx context.Context) error {
	n := b.sized(readyCount)
	path := b.path("ready.db")
	if err := b.fill(ctx, path, n); err != nil {
		return err
	}
	var ready, opened []float64
	for range b.rounds {
		got, err := b.takeInHand(ctx, "active-ready", path, n, 0)
		if err != nil {
			return err
		}
		ready, opened = append(ready, got.Ready.Seconds()), append(opened, got.Opened.Seconds())
	}
	b.results = append(b.results, result{
		what:     fmt.Sprintf("%d intents ready after a start", n),
		ours:     fmt.Sprintf("%.2f s (the file open after %.2f s)", median(ready), median(opened)),
		baseline: readyTime.String(),
		ratio:    median(ready) / readyTime.Seconds(), limit: 1,
	})
	return os.Remove(path)
}

func (b *bench) measureMemory(ctx context.Context) error {
	n := b.sized(activeCount)
	path := b.path("active.db")
	if err := b.fill(ctx, path, n); err != nil {
		return err
	}
	got, err := b.takeInHand(ctx, "active", path, n, activeRun)
	if err != nil {
		return err
	}
	b.about("active", "%d ready after %s, %d polls in %s", n, got.Ready.Round(10*time.Millisecond), got.Polls, activeRun)
	limit := float64(activeMemory) * b.scale
	b.results = append(b.results, result{
		what:     fmt.Sprintf("memory of %d active intents", n),
		ours:     fmt.Sprintf("%d MiB", got.Anonymous>>20),
		baseline: fmt.Sprintf("%.0f MiB", limit/(1<<20)),
		ratio:    float64(got.Anonymous) / limit, limit: 1,
	})
	return os.Remove(path)
}

// fill makes a store with n running intents, which come due evenly within the hour.
func (b *bench) fill(ctx context.Context, path string, n int) error {
	begun := time.Now()
	p, err := b.start(ctx, "active-fill", "fill", path, strconv.Itoa(n))
	if err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	b.about("active", "made a file of %d intents, %d MiB, in %s", n, info.Size()>>20, time.Since(begun).Round(100*time.Millisecond))
	return nil
}

func playFill(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s, err := boltstore.Open(args[0], boltstore.Options{})
	if err != nil {
		return err
	}
	const writers = 2048 // as many as go into one commit
	begun := time.Now()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n && failed.Load() == nil; i = int(next.Add(1)) {
				// A hundred were made a second, up to now.
				in, events := runningIntent(begun.Add(-time.Duration(n-i)*time.Second/100), i)
				in.Due = begun.Add(dueWithin * time.Duration(i%1000) / 1000)
				if _, err := s.Create(context.Background(), in, events); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return errors.Join(*err, s.Close())
	}
	return s.Close()
}

// takeInHand has a process open a store of n intents, and go on for a while.
func (b *bench) takeInHand(ctx context.Context, name, path string, n int, run time.Duration) (inHand, error) {
	var got inHand
	p, err := b.start(ctx, name, "active", path, strconv.Itoa(n), run.String())
	if err != nil {
		return got, err
	}
	err = p.read(&got)
	return got, errors.Join(err, p.stop())
}

func playActive(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	run, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	backend := new(chatter)
	g, err := settings(backend, engine.DefaultPace, engine.DefaultInFlight, activeRate)
	if err != nil {
		return err
	}
	got, err := open(args[0], run, g)
	if err != nil {
		return err
	}
	if got.Held != n {
		return fmt.Errorf("%d of %d intents were claimed", got.Held, n)
	}
	got.Polls = backend.asked.Load()
	return answer(got)
}

// open opens a store and an engine on it, waits until the engine holds all that the
// store has, and lets it run.
func open(path string, run time.Duration, g *engine.Generation) (got inHand, err error) {
	begun := time.Now()
	bolt, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	got.Opened = time.Since(begun)
	s := &claimedStore{Store: bolt, done: make(chan struct{})}
	e := engine.New(s)
	e.Use(g)
	e.Start()
	defer e.Stop()
	<-s.done
	for { // the last batch is being taken in
		if _, ok := e.Polling(s.last); ok {
			break
		}
		time.Sleep(time.Millisecond)
	}
	got.Held, got.Ready = s.claimed, time.Since(begun)
	for until := time.Now().Add(run); ; time.Sleep(50 * time.Millisecond) {
		bytes, err := anonymous()
		if err != nil {
			return got, err
		}
		got.Anonymous = max(got.Anonymous, bytes)
		if time.Now().After(until) {
			return got, writeHeap()
		}
	}
}

// A claimedStore sees how far claiming has come.
type claimedStore struct {
	store.Store
	claimed int
	last    intent.ID
	done    chan struct{} // closed when there was no more to claim
}

func (s *claimedStore) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	held, err := s.Store.Claim(ctx, n, of...)
	if err != nil {
		return held, err
	}
	s.claimed += len(held)
	if len(held) > 0 {
		s.last = held[len(held)-1].ID
	}
	if len(held) < n {
		close(s.done)
	}
	return held, nil
}

// writeHeap writes a heap profile, if one is wanted.
func writeHeap() error {
	path := os.Getenv(profileVariable)
	if path == "" {
		return nil
	}
	runtime.GC()
	file, err := os.Create(path + ".heap")
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(file), file.Close())
}

package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// What the backend is asked. A hundred observers of one job cost what one costs,
// counted at the backend of a real Caddy. And a job that nobody watches costs a
// fraction of a client that polls every two seconds for an hour; that hour is
// played a hundred times as fast, with the default pace a hundred times as fast.
const (
	sharedObservers = 100
	sharedRun       = 8 * time.Second
	sharedLimit     = 1.1 // one poll more or less, and room for a busy machine

	hourIn        = 36 * time.Second
	hourSpeed     = time.Hour / hourIn
	unwatchedJobs = 20
	unwatchedMax  = 0.2
)

// watchedJob is polled ten times a second while it is watched.
const watchedJob = `intents TO {
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id}
			poll 100ms {
				first 100ms
			}
		}
	}`

func measureRequests(ctx context.Context, b *bench) error {
	if err := b.measureShared(ctx); err != nil {
		return err
	}
	return b.measureUnwatched(ctx)
}

func (b *bench) measureShared(ctx context.Context) error {
	b.about("requests", "one job with %d observers and one with 1, each in a Caddy of its own, both at once for %s", sharedObservers, sharedRun)
	counts := make([]int64, 2)
	var both []*asked
	for i, n := range []int{sharedObservers, 1} {
		a, err := b.startAsked(ctx, fmt.Sprintf("requests-%d", n), watchedJob)
		if err != nil {
			return err
		}
		defer a.stop()
		clients, err := a.crowd(n)
		if err != nil {
			return err
		}
		defer closeAll(clients)
		both = append(both, a)
		counts[i] = -a.backend.gets.Load()
	}
	if err := pause(ctx, sharedRun); err != nil {
		return err
	}
	for i, a := range both {
		counts[i] += a.backend.gets.Load()
	}
	b.results = append(b.results, result{
		what:     fmt.Sprintf("backend requests for %d observers", sharedObservers),
		ours:     fmt.Sprintf("%d", counts[0]),
		baseline: fmt.Sprintf("for one: %d", counts[1]),
		ratio:    float64(counts[0]) / float64(counts[1]), limit: sharedLimit,
	})
	return nil
}

// crowd starts a job and follows it with n streams.
func (a *asked) crowd(n int) ([]*client, error) {
	ids, err := submitJobs(a.caddy.addr, 1)
	if err != nil {
		return nil, err
	}
	requests := make([][]byte, n)
	for i := range requests {
		requests[i] = get(fmt.Sprintf(streamPath, ids[0]))
	}
	return openStreams(a.caddy.addr, requests)
}

func (b *bench) measureUnwatched(ctx context.Context) error {
	hour := time.Duration(float64(hourIn) * b.scale)
	b.about("requests", "%d jobs that nobody watches and a client that polls every 2 s, both at once, for an hour in %s", unwatchedJobs, hour)
	backend, legacy := &chatter{mute: true}, &chatter{mute: true}
	e, err := startUnwatched(ctx, backend)
	if err != nil {
		return err
	}
	defer e.Stop()
	pollFor(ctx, hour, legacy)
	own := float64(backend.asked.Load()) / unwatchedJobs
	b.results = append(b.results, result{
		what:     "backend requests for an unwatched job, 1 h",
		ours:     fmt.Sprintf("%.0f", own),
		baseline: fmt.Sprintf("polled every 2 s: %d", legacy.asked.Load()),
		ratio:    own / float64(legacy.asked.Load()), limit: unwatchedMax,
	})
	return nil
}

// startUnwatched starts an engine with jobs that nobody watches, at the default
// pace but faster.
func startUnwatched(ctx context.Context, backend engine.Transport) (*engine.Engine, error) {
	pace := engine.DefaultPace
	for _, d := range []*time.Duration{&pace.Interval, &pace.First, &pace.MaxInterval} {
		*d /= hourSpeed
	}
	g, err := settings(backend, pace, engine.DefaultInFlight, engine.DefaultRate*float64(hourSpeed))
	if err != nil {
		return nil, err
	}
	s := &crowdedStore{Store: memstore.New()}
	if err := s.addDue(unwatchedJobs); err != nil {
		return nil, err
	}
	e := engine.New(s)
	e.Use(g)
	e.Start()
	return e, nil
}

// pollFor polls as a client does that asks every two seconds.
func pollFor(ctx context.Context, hour time.Duration, backend engine.Transport) {
	tick := time.NewTicker(2 * time.Second / hourSpeed)
	defer tick.Stop()
	for end := time.After(hour); ; {
		_ = backend.Send(httptest.NewRecorder(), nil)
		select {
		case <-tick.C:
		case <-end:
			return
		case <-ctx.Done():
			return
		}
	}
}

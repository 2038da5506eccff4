package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// What an idle observer costs in memory: streams over HTTP/1.1, each of an intent
// of its own, in a Caddy that does nothing else. Beside it, the same number of
// streams in the barest handler that a Caddy can have.
const (
	observersCount  = 3000
	observersBudget = 45 << 10 // bytes each
	observersSettle = 3 * time.Second
)

// quietJob is never polled while the bench runs.
const quietJob = `intents TO {
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id}
			poll 1h {
				first 1h
				max_interval 1h
			}
		}
	}`

func measureObservers(ctx context.Context, b *bench) error {
	n := b.sized(observersCount)
	b.about("observers", "%d idle streams; the process's memory %s after the last one came, less that before the first", n, observersSettle)
	backend, err := startBackend(0)
	if err != nil {
		return err
	}
	defer backend.stop()
	var r rounds
	for round := range (b.rounds + 1) / 2 { // it varies little
		bare, err := b.perObserver(ctx, fmt.Sprintf("observers-bare-%d", round), "bench_stream", backend, nothing, n)
		if err != nil {
			return err
		}
		own, err := b.perObserver(ctx, fmt.Sprintf("observers-ours-%d", round), quietJob, backend, submitStreams, n)
		if err != nil {
			return err
		}
		r.add(own, bare)
	}
	kb := func(bytes float64) string { return fmt.Sprintf("%.1f KB", bytes/1024) }
	b.results = append(b.results, result{
		what:     "memory per idle observer",
		ours:     kb(median(r.ours)),
		baseline: fmt.Sprintf("%s (a bare handler: %s)", kb(observersBudget), kb(median(r.baseline))),
		ratio:    median(r.ours) / observersBudget, limit: 1,
	})
	return nil
}

// submitStreams starts jobs and returns the requests that follow them, from where
// they are.
func submitStreams(addr string, n int) ([][]byte, error) {
	ids, err := submitJobs(addr, n)
	if err != nil {
		return nil, err
	}
	requests := make([][]byte, n)
	for i, id := range ids {
		requests[i] = get(fmt.Sprintf(streamPath, id))
	}
	return requests, nil
}

// nothing is what has to be there for a bare stream.
func nothing(_ string, n int) ([][]byte, error) {
	requests := make([][]byte, n)
	for i := range requests {
		requests[i] = get("/")
	}
	return requests, nil
}

// perObserver opens n streams at a Caddy and returns by how many bytes it grew for
// each.
func (b *bench) perObserver(ctx context.Context, name, block string, to *backend, prepare func(string, int) ([][]byte, error), n int) (float64, error) {
	c, err := b.startCaddy(ctx, name, block, to)
	if err != nil {
		return 0, err
	}
	defer c.kill()
	requests, err := prepare(c.addr, n)
	if err != nil {
		return 0, err
	}
	warm, err := openStreams(c.addr, requests[:min(n, 20)]) // code and pools that the first ones need
	if err != nil {
		return 0, err
	}
	closeAll(warm)
	if err := pause(ctx, observersSettle); err != nil {
		return 0, err
	}
	before, err := c.memory()
	if err != nil {
		return 0, err
	}
	clients, err := openStreams(c.addr, requests)
	if err != nil {
		return 0, err
	}
	defer closeAll(clients)
	if err := pause(ctx, observersSettle); err != nil {
		return 0, err
	}
	after, err := c.memory()
	if err != nil {
		return 0, err
	}
	c.profile(time.Second)()
	return float64(after-before) / float64(n), nil
}

// openStreams opens a stream for each request and reads its first event.
func openStreams(addr string, requests [][]byte) ([]*client, error) {
	clients, err := dialAll(addr, len(requests))
	if err != nil {
		return nil, err
	}
	for i, c := range clients {
		resp, err := c.send(requests[i], http.StatusOK)
		if err == nil {
			err = newFrames(resp.Body).next()
		}
		if err != nil {
			closeAll(clients)
			return nil, err
		}
	}
	return clients, nil
}

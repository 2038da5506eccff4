package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What it costs to tell everybody who follows one intent of an event: CPU time of
// Caddy for each frame that an observer has received, all included, from the poll
// that brings the event to the writes. Beside it stands the barest handler that a
// Caddy can have, which writes a ready frame of the same length to as many streams at
// once. The two take turns.
const (
	fanOutObservers = 5000
	fanOutEvents    = 4 // a round
	fanOutBudget    = 30 * time.Microsecond
	fanOutPatience  = 30 * time.Second
)

// livelyJob has an event at each poll: an intent has its first 64 at most once a
// second.
const livelyJob = `intents TO {
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id}
			poll 1100ms {
				jitter 0%
			}
		}
	}`

func measureFanOut(ctx context.Context, b *bench) error {
	n := b.sized(fanOutObservers)
	b.about("fanout", "%d observers of one intent, %d events a round", n, fanOutEvents)
	backend, err := startBackend(0)
	if err != nil {
		return err
	}
	defer backend.stop()
	backend.lively = true
	var crowds []*crowd
	for _, c := range []struct {
		name, block string
		prepare     func(addr string, n int) ([][]byte, error)
	}{
		{"fanout-ours", livelyJob, submitStreams},
		{"fanout-bare", "bench_stream together", nothing},
	} {
		caddy, err := b.startCaddy(ctx, c.name, c.block, backend)
		if err != nil {
			return err
		}
		defer caddy.kill()
		requests, err := c.prepare(caddy.addr, 1)
		if err != nil {
			return err
		}
		crowd, err := gather(caddy, requests[0], n)
		if err != nil {
			return err
		}
		defer crowd.leave()
		crowds = append(crowds, crowd)
	}
	var r rounds
	for range b.rounds {
		own, err := crowds[0].perDelivery(ctx)
		if err != nil {
			return err
		}
		bare, err := crowds[1].perDelivery(ctx)
		if err != nil {
			return err
		}
		r.add(own, bare)
	}
	b.results = append(b.results, result{
		what:     fmt.Sprintf("CPU per delivery to %d observers of one", n),
		ours:     micros(median(r.ours)),
		baseline: fmt.Sprintf("%s (a bare handler: %s)", micros(float64(fanOutBudget)), micros(median(r.baseline))),
		ratio:    median(r.ours) / float64(fanOutBudget), limit: 1,
	})
	return nil
}

// A crowd is all observers of one intent.
type crowd struct {
	caddy    *caddyProcess
	clients  []*client
	reading  sync.WaitGroup
	received atomic.Int64
}

// gather opens n streams by the same request and counts what comes on them.
func gather(caddy *caddyProcess, request []byte, n int) (*crowd, error) {
	clients, err := dialAll(caddy.addr, n)
	if err != nil {
		return nil, err
	}
	c := &crowd{caddy: caddy, clients: clients}
	for _, cl := range clients {
		resp, err := cl.send(request, http.StatusOK)
		if err != nil {
			c.leave()
			return nil, err
		}
		c.reading.Go(func() {
			for events := newFrames(resp.Body); events.next() == nil; {
				c.received.Add(1)
			}
		})
	}
	return c, nil
}

func (c *crowd) leave() {
	closeAll(c.clients)
	c.reading.Wait()
}

// perDelivery is how many nanoseconds of Caddy's CPU each frame took in one round,
// which begins and ends when nothing is on its way.
func (c *crowd) perDelivery(ctx context.Context) (float64, error) {
	if err := c.hears(ctx, 1); err != nil {
		return 0, err
	}
	defer c.caddy.profile(fanOutEvents * time.Second)()
	received := c.received.Load()
	before, err := c.caddy.cpu()
	if err != nil {
		return 0, err
	}
	if err := c.hears(ctx, fanOutEvents); err != nil {
		return 0, err
	}
	after, err := c.caddy.cpu()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(c.received.Load()-received), nil
}

// hears returns when everybody has received so many more events and no other comes.
func (c *crowd) hears(ctx context.Context, events int) error {
	const quiet = 300 * time.Millisecond // much less than from one event to the next
	want := c.received.Load() + int64(events*len(c.clients))
	since := time.Now()
	for begun := since; ; {
		last := c.received.Load()
		if err := pause(ctx, quiet/10); err != nil {
			return err
		}
		switch now := c.received.Load(); {
		case now != last:
			since = time.Now()
		case now >= want && time.Since(since) > quiet:
			return nil
		case time.Since(begun) > fanOutPatience:
			return errors.New("the observers do not receive all events")
		}
	}
}

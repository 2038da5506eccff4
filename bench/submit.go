package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The throughput of submits: through us, each stored durably before it is answered,
// and through a plain reverse_proxy to the same backend. The intents that this
// makes are polled meanwhile at the default limit, 100 a second.
const (
	submitClients = 64
	submitRound   = 3 * time.Second
	submitWork    = time.Millisecond
	submitLimit   = 0.6
)

// usualJob is what a user writes: two paths.
const usualJob = `intents TO {
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id}
		}
	}`

func measureSubmit(ctx context.Context, b *bench) error {
	b.about("submit", "%d clients that keep their connections, %s a round, the backend takes 0 to %s", submitClients, submitRound, submitWork)
	backend, err := startBackend(submitWork)
	if err != nil {
		return err
	}
	defer backend.stop()
	ours, err := b.startCaddy(ctx, "submit-ours", usualJob, backend)
	if err != nil {
		return err
	}
	defer ours.kill()
	plain, err := b.startCaddy(ctx, "submit-plain", "reverse_proxy TO", backend)
	if err != nil {
		return err
	}
	defer plain.kill()

	var rate, cpu rounds
	for round := range b.rounds + 1 {
		theirs, err := plain.submits()
		if err != nil {
			return err
		}
		own, err := ours.submits()
		if err != nil {
			return err
		}
		if round > 0 { // the first one warms up
			rate.add(own.rate, theirs.rate)
			cpu.add(own.cpu, theirs.cpu)
		}
	}
	b.results = append(b.results, result{
		what:     "submit, durable, 64 clients",
		ours:     fmt.Sprintf("%.0f/s (CPU of each %s)", median(rate.ours), micros(median(cpu.ours))),
		baseline: fmt.Sprintf("reverse_proxy %.0f/s (CPU of each %s)", median(rate.baseline), micros(median(cpu.baseline))),
		ratio:    rate.ratio(), limit: submitLimit, least: true,
	})
	return nil
}

// A submitted is what a round of submits came to.
type submitted struct {
	rate float64 // answered a second
	cpu  float64 // of Caddy for each, in nanoseconds
}

// submits submits for one round.
func (c *caddyProcess) submits() (s submitted, err error) {
	clients, err := dialAll(c.addr, submitClients)
	if err != nil {
		return s, err
	}
	defer closeAll(clients)
	defer c.profile(submitRound)()
	before, err := c.cpu()
	if err != nil {
		return s, err
	}
	var answered atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	begun := time.Now()
	for _, cl := range clients {
		all.Go(func() {
			for time.Since(begun) < submitRound {
				if _, err := cl.do(post, http.StatusAccepted); err != nil {
					failed.Store(&err)
					return
				}
				answered.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	if err := failed.Load(); err != nil {
		return s, *err
	}
	after, err := c.cpu()
	if err != nil {
		return s, err
	}
	n := float64(answered.Load())
	return submitted{rate: n / took.Seconds(), cpu: float64(after-before) / n}, nil
}

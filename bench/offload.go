package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What it costs to answer a client that polls a job's status URL, which we do from the
// last reading; beside it, the same requests go through a reverse_proxy to the backend.
// Both happen at once, and the polls that keep the reading fresh are in it.
const (
	offloadClients = 100
	offloadEvery   = 50 * time.Millisecond
	offloadLimit   = 1
)

func measureOffload(ctx context.Context, b *bench) error {
	clients := b.sized(offloadClients)
	b.about("offload", "%d clients ask for one job, each every %s, %s a round", clients, offloadEvery, pollRound)
	ours, err := b.startAsked(ctx, "offload-ours", "intents TO {\njob report {\nsubmit POST /reports/generate\nstatus GET /reports/status/{job_id}\n}\n}")
	if err != nil {
		return err
	}
	defer ours.stop()
	plain, err := b.startAsked(ctx, "offload-plain", "reverse_proxy TO")
	if err != nil {
		return err
	}
	defer plain.stop()

	both := []*asked{ours, plain}
	var answered [2]atomic.Int64
	for i, a := range both {
		if _, err := submitJobs(a.caddy.addr, 1); err != nil && a == ours {
			return err
		}
		stop, err := a.crowdAsks(ctx, clients, &answered[i])
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := pause(ctx, pollWarmUp); err != nil {
		return err
	}
	polls := -ours.backend.gets.Load()
	var r rounds
	for range b.rounds {
		var each [2]float64
		var before [2]time.Duration
		for i, a := range both {
			answered[i].Store(0)
			if before[i], err = a.caddy.cpu(); err != nil {
				return err
			}
			defer a.caddy.profile(pollRound)()
		}
		if err := pause(ctx, pollRound); err != nil {
			return err
		}
		for i, a := range both {
			n := answered[i].Load()
			spent, err := a.caddy.cpu()
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("nothing got through %s", a.caddy.name)
			}
			each[i] = float64(spent-before[i]) / float64(n)
		}
		r.add(each[0], each[1])
	}
	polls += ours.backend.gets.Load()
	b.results = append(b.results, result{
		what:     "CPU per offloaded status request",
		ours:     fmt.Sprintf("%s (%d backend requests)", micros(median(r.ours)), polls),
		baseline: "through reverse_proxy " + micros(median(r.baseline)),
		ratio:    r.ratio(), limit: offloadLimit,
	})
	return nil
}

// crowdAsks has n clients ask for the first job, and counts the answers.
func (a *asked) crowdAsks(ctx context.Context, n int, answered *atomic.Int64) (stop func(), err error) {
	clients, err := dialAll(a.caddy.addr, n)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	request := get(statusPath + "job-1")
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			if pause(ctx, offloadEvery*time.Duration(i)/time.Duration(n)) != nil {
				return
			}
			tick := time.NewTicker(offloadEvery)
			defer tick.Stop()
			for {
				if _, err := c.do(request, http.StatusOK); err != nil {
					return // the round sees that fewer got through
				}
				answered.Add(1)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
		closeAll(clients)
	}, nil
}

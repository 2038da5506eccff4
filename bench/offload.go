package main

import (
	"context"
	"fmt"
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

	both := [2]*asked{ours, plain}
	var answered [2]atomic.Int64
	for i, a := range both {
		if _, err := submitJobs(a.caddy.addr, 1); err != nil && a == ours {
			return err
		}
		stop, err := a.askEach(ctx, clients, offloadEvery, func(int) string { return statusPath + "job-1" }, &answered[i])
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
		each, err := perEach(ctx, both, func(i int) int64 { return answered[i].Load() })
		if err != nil {
			return err
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

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// What one poll costs in CPU time of Caddy, all included: the schedule, the read
// from the store, the way through reverse_proxy, the reading of the answer. Beside
// it, the same jobs are asked for as often by clients through a reverse_proxy. Both
// happen at once, so that whatever else the machine does befalls both.
const (
	pollJobs   = 100
	pollEvery  = 100 * time.Millisecond
	pollRound  = 4 * time.Second
	pollLimit  = 1.5
	pollWarmUp = 2 * time.Second
)

const pollJob = `intents TO {
		limits {
			rate 100000
			in_flight 1000
		}
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id}
			poll 100ms {
				first 100ms
				max_interval 100ms
				backoff 1
				jitter 0%
			}
		}
	}`

func measurePoll(ctx context.Context, b *bench) error {
	jobs := b.sized(pollJobs)
	b.about("poll", "%d running jobs, each asked every %s, %s a round", jobs, pollEvery, pollRound)
	ours, err := b.startAsked(ctx, "poll-ours", pollJob)
	if err != nil {
		return err
	}
	defer ours.stop()
	plain, err := b.startAsked(ctx, "poll-plain", "reverse_proxy TO")
	if err != nil {
		return err
	}
	defer plain.stop()

	if _, err := submitJobs(ours.caddy.addr, jobs); err != nil {
		return err
	}
	var answered atomic.Int64
	stop, err := plain.askEach(ctx, jobs, pollEvery, func(i int) string { return fmt.Sprintf("%sjob-%d", statusPath, i+1) }, &answered)
	if err != nil {
		return err
	}
	defer stop()
	if err := pause(ctx, pollWarmUp); err != nil {
		return err
	}
	both := [2]*asked{ours, plain}
	var r rounds
	for range b.rounds {
		each, err := perEach(ctx, both, func(i int) int64 { return both[i].backend.gets.Load() })
		if err != nil {
			return err
		}
		r.add(each[0], each[1])
	}
	b.results = append(b.results, result{
		what:     "CPU per poll, all included",
		ours:     micros(median(r.ours)),
		baseline: "GET through reverse_proxy " + micros(median(r.baseline)),
		ratio:    r.ratio(), limit: pollLimit,
	})
	return nil
}

package main

import (
	"context"
	"errors"
	"strings"
	"time"
)

// What a job costs that is asked for together with 99 others, beside one that is
// asked for alone: CPU time of Caddy for each time that a job was told of, all
// included, and requests. Both happen at once. The jobs are submitted one after the
// other, so that they have to fall into step first.
const (
	batchJobs     = 300
	batchWarmUp   = 5 * time.Second
	batchCPU      = 0.2
	batchRequests = 0.0101 // a hundredth, and room for rounding
)

const batchBlock = `			poll 100ms {
				batch GET /reports/statuses?ids={job_ids} {
					id body.job_id
				}
`

func measureBatch(ctx context.Context, b *bench) error {
	b.about("batch", "%d running jobs, each asked every %s, a hundred in one request and one by one, %s a round", batchJobs, pollEvery, pollRound)
	together, err := b.startPolled(ctx, "batch-together", strings.Replace(pollJob, "\t\t\tpoll 100ms {\n", batchBlock, 1))
	if err != nil {
		return err
	}
	defer together.stop()
	alone, err := b.startPolled(ctx, "batch-alone", pollJob)
	if err != nil {
		return err
	}
	defer alone.stop()
	if err := pause(ctx, batchWarmUp); err != nil {
		return err
	}
	var cpu, requests rounds
	for range b.rounds {
		spent, err := eachSpends(ctx, together, alone)
		if err != nil {
			return err
		}
		cpu.add(spent[0].cpu, spent[1].cpu)
		requests.add(spent[0].requests, spent[1].requests)
	}
	b.results = append(b.results, result{
		what:     "CPU per job and poll, in a batch of 100",
		ours:     micros(median(cpu.ours)),
		baseline: "one by one " + micros(median(cpu.baseline)),
		ratio:    cpu.ratio(), limit: batchCPU,
	}, result{
		what:     "backend requests, in batches of 100",
		ours:     perJob(median(requests.ours)),
		baseline: "one by one " + perJob(median(requests.baseline)),
		ratio:    requests.ratio(), limit: batchRequests,
	})
	return nil
}

func (b *bench) startPolled(ctx context.Context, name, block string) (*asked, error) {
	a, err := b.startAsked(ctx, name, block)
	if err != nil {
		return nil, err
	}
	if _, err := submitJobs(a.caddy.addr, batchJobs); err != nil {
		a.stop()
		return nil, err
	}
	return a, nil
}

// A spending is what it cost to be told of a job once.
type spending struct{ cpu, requests float64 }

// eachSpends measures all of them for one round.
func eachSpends(ctx context.Context, all ...*asked) ([]spending, error) {
	cpu, gets, told := make([]time.Duration, len(all)), make([]int64, len(all)), make([]int64, len(all))
	for i, a := range all {
		gets[i], told[i] = a.backend.gets.Load(), a.backend.told.Load()
		var err error
		if cpu[i], err = a.caddy.cpu(); err != nil {
			return nil, err
		}
		defer a.caddy.profile(pollRound)()
	}
	if err := pause(ctx, pollRound); err != nil {
		return nil, err
	}
	spent := make([]spending, len(all))
	for i, a := range all {
		now, err := a.caddy.cpu()
		if err != nil {
			return nil, err
		}
		n := float64(a.backend.told.Load() - told[i])
		if n == 0 {
			return nil, errors.New("nothing got through " + a.caddy.name)
		}
		spent[i] = spending{float64(now-cpu[i]) / n, float64(a.backend.gets.Load()-gets[i]) / n}
	}
	return spent, nil
}

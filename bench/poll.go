package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
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
	stop, err := b.askAsClients(ctx, plain.caddy.addr, jobs)
	if err != nil {
		return err
	}
	defer stop()
	if err := pause(ctx, pollWarmUp); err != nil {
		return err
	}
	var r rounds
	for range b.rounds {
		own, theirs, err := perRequest(ctx, ours, plain)
		if err != nil {
			return err
		}
		r.add(own, theirs)
	}
	b.results = append(b.results, result{
		what:     "CPU per poll, all included",
		ours:     micros(median(r.ours)),
		baseline: "GET through reverse_proxy " + micros(median(r.baseline)),
		ratio:    r.ratio(), limit: pollLimit,
	})
	return nil
}

// asked is a Caddy with a backend of its own that counts what gets through.
type asked struct {
	caddy   *caddyProcess
	backend *backend
}

func (b *bench) startAsked(ctx context.Context, name, block string) (*asked, error) {
	backend, err := startBackend(0)
	if err != nil {
		return nil, err
	}
	caddy, err := b.startCaddy(ctx, name, block, backend)
	if err != nil {
		backend.stop()
		return nil, err
	}
	return &asked{caddy, backend}, nil
}

func (a *asked) stop() {
	a.caddy.kill()
	a.backend.stop()
}

// askAsClients has each of n clients ask for its job, as legacy clients do.
func (b *bench) askAsClients(ctx context.Context, addr string, n int) (stop func(), err error) {
	clients, err := dialAll(addr, n)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i, c := range clients {
		request := get(fmt.Sprintf("%sjob-%d", statusPath, i+1))
		phase := time.Duration(b.random.Int64N(int64(pollEvery)))
		all.Go(func() {
			if pause(ctx, phase) != nil {
				return
			}
			tick := time.NewTicker(pollEvery)
			defer tick.Stop()
			for {
				if _, err := c.do(request, http.StatusOK); err != nil {
					return // the round sees that fewer got through
				}
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

// perRequest is how many nanoseconds of CPU each request took, in one round.
func perRequest(ctx context.Context, ours, plain *asked) (own, theirs float64, err error) {
	both := []*asked{ours, plain}
	cpu, gets := make([]time.Duration, 2), make([]int64, 2)
	for i, a := range both {
		gets[i] = a.backend.gets.Load()
		if cpu[i], err = a.caddy.cpu(); err != nil {
			return 0, 0, err
		}
		defer a.caddy.profile(pollRound)()
	}
	if err := pause(ctx, pollRound); err != nil {
		return 0, 0, err
	}
	each := make([]float64, 2)
	for i, a := range both {
		spent, err := a.caddy.cpu()
		if err != nil {
			return 0, 0, err
		}
		n := a.backend.gets.Load() - gets[i]
		if n == 0 {
			return 0, 0, fmt.Errorf("nothing got through %s", a.caddy.name)
		}
		each[i] = float64(spent-cpu[i]) / float64(n)
	}
	return each[0], each[1], nil
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// What the metrics cost a poll and a submit, as a part of the CPU time that a Caddy
// spends on them without. It is read from profiles: so little would be lost in what
// two Caddys, or two rounds of one, differ by anyway, while the samples of a profile
// are of the same moments and the same caches on both sides of the ratio.
const (
	metricsRound   = 6 * time.Second // of 100 samples for each second of CPU
	metricsJobs    = 400
	metricsClients = 16 // that submit
	metricsLimit   = 0.02
)

// A metered load is work of one kind, and nothing else, for a Caddy.
type meteredLoad struct {
	of    string
	block string
	begin func(ctx context.Context, b *bench, to *asked) (stop func(), err error)
	done  func(*backend) int64
}

var meteredLoads = []meteredLoad{
	{"poll", pollJob, runJobs, func(b *backend) int64 { return b.gets.Load() }},
	{"submit", usualJob, keepSubmitting, func(b *backend) int64 { return b.posts.Load() }},
}

func measureMetrics(ctx context.Context, b *bench) error {
	b.about("metrics", "%d running jobs, each asked every %s; then %d clients that submit; %s a round",
		b.sized(metricsJobs), pollEvery, metricsClients, metricsRound)
	for _, l := range meteredLoads {
		if err := l.measure(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (l meteredLoad) measure(ctx context.Context, b *bench) error {
	a, err := b.startAsked(ctx, "metrics-"+l.of, l.block)
	if err != nil {
		return err
	}
	defer a.stop()
	stop, err := l.begin(ctx, b, a)
	if err != nil {
		return err
	}
	defer stop()
	if err := pause(ctx, pollWarmUp); err != nil {
		return err
	}
	done := -l.done(a.backend)
	before, err := a.caddy.cpu()
	if err != nil {
		return err
	}
	var all samples
	for round := range b.rounds {
		path := b.path(fmt.Sprintf("metrics-%s-%d.cpu", l.of, round))
		if err := a.caddy.save(path, profileOf(metricsRound)); err != nil {
			return err
		}
		if err := all.read(ctx, path); err != nil {
			return err
		}
	}
	after, err := a.caddy.cpu()
	if err != nil {
		return err
	}
	if done += l.done(a.backend); done == 0 || all.through == 0 {
		return fmt.Errorf("%d times a %s, %d of %d samples from within the store's meter: nothing to tell from", done, l.of, all.through, all.all)
	}
	each := float64(after-before) / float64(done)
	share := float64(all.metering) / float64(all.all)
	b.results = append(b.results, result{
		what:     "metrics, of the CPU of a " + l.of,
		ours:     fmt.Sprintf("%.2f us (%d of %d samples)", each*share/1e3, all.metering, all.all),
		baseline: "a " + l.of + " without " + micros(each*(1-share)),
		ratio:    share / (1 - share), limit: metricsLimit,
	})
	return nil
}

// runJobs starts jobs, which are polled from then on.
func runJobs(_ context.Context, b *bench, to *asked) (stop func(), err error) {
	_, err = submitJobs(to.caddy.addr, b.sized(metricsJobs))
	return func() {}, err
}

// keepSubmitting has clients submit one job after the other.
func keepSubmitting(ctx context.Context, _ *bench, to *asked) (stop func(), err error) {
	clients, err := dialAll(to.caddy.addr, metricsClients)
	if err != nil {
		return nil, err
	}
	return atWork(ctx, clients, func(ctx context.Context, _ int, c *client) {
		for ctx.Err() == nil {
			if _, err := c.do(post, http.StatusAccepted); err != nil {
				warn("submitting", err) // fewer are submitted, which changes nothing
				return
			}
		}
	}), nil
}

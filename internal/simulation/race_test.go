package simulation_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// drawRaces makes a schedule in which each client's job completes, is canceled and
// reaches its deadline within a few milliseconds, all at once with a poll. Of some the
// deadline comes while they are being submitted.
func drawRaces(seed uint64, races int) plan {
	r := source(seed, "races")
	p := plan{seed: seed, horizon: 2 * time.Minute, inFlight: 64, late: 2 * time.Millisecond}
	for range races {
		finish := between(r, 10*time.Second, 90*time.Second)
		near := func() time.Duration { return finish + between(r, -3*time.Millisecond, 3*time.Millisecond) }
		c := clientPlan{
			at: between(r, 0, 10*time.Second), job: jobs[r.IntN(len(jobs))], leaves: time.Minute, end: "done",
			observers: 1, within: near(), cancels: near(), takes: near(),
		}
		if r.IntN(8) == 0 {
			c.within = between(r, 1, 3*time.Millisecond)
		}
		p.clients = append(p.clients, c)
	}
	return p
}

func TestRacesOfCancelEndAndDeadlineHaveOneWinner(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	const perSchedule = 20
	n := soak.Number(t, "INTENTS_RACES", 100)
	won := make(map[intent.Status]int)
	for i := range n / perSchedule {
		entries := play(t, drawRaces(seed+i, perSchedule), slog.New(slog.DiscardHandler))
		for _, v := range audit.Audit(entries, terms) {
			t.Errorf("seed %d: %s", seed+i, v)
		}
		require.False(t, t.Failed(), "seed %d", seed+i)
		for _, e := range entries {
			if e.Stored != nil {
				won[e.Stored.Intent.Status]++
			}
		}
	}
	for _, s := range []intent.Status{intent.Completed, intent.Canceled, intent.TimedOut} {
		require.Positive(t, won[s], "no race was won by %s: this shows nothing", s)
	}
	t.Logf("%d races: %v, in %s", n, won, time.Since(begun).Round(time.Millisecond))
}

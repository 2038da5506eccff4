package simulation_test

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// TestSimulatedSchedulesKeepEveryPromise plays schedules of consecutive seeds.
//
//	INTENTS_SEED=<seed> INTENTS_SCHEDULES=1 go test -run Simulated -v ./internal/simulation
//
// plays one again, and prints what happened in it.
func TestSimulatedSchedulesKeepEveryPromise(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	n := soak.Number(t, "INTENTS_SCHEDULES", 60)
	failed, events, posts := 0, 0, 0
	for i := range n {
		p := draw(seed + i)
		logger := slog.New(slog.DiscardHandler)
		if n == 1 {
			logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		entries := play(t, p, logger)
		if violations := audit.Audit(entries, terms); len(violations) > 0 || n == 1 {
			report(t, seed+i, entries, violations)
			failed += min(len(violations), 1)
		}
		for _, e := range entries {
			switch {
			case e.Stored != nil:
				events += len(e.Stored.Events)
			case e.Asked != nil && e.Asked.Kind == audit.Submits:
				posts++
			}
		}
		require.Less(t, failed, 5, "that is enough")
	}
	if n > 1 {
		require.Positive(t, events, "nothing happened")
	}
	t.Logf("%d schedules of seeds from %d on, %d submits at the backend, %d events, %d schedules broke a promise, in %s",
		n, seed, posts, events, failed, time.Since(begun).Round(time.Millisecond))
}

// TestSchedulesThatWereBrokenKeepEveryPromise plays those again that were not: in each
// the store has a queued submit and does not say so, and a kill comes before it is asked
// again, so that a submit was delivered whose client had been told that it was refused.
func TestSchedulesThatWereBrokenKeepEveryPromise(t *testing.T) {
	for _, seed := range []uint64{100053, 100066, 100179, 100595, 100599} {
		entries := play(t, draw(seed), slog.New(slog.DiscardHandler))
		require.Empty(t, audit.Audit(entries, terms), "seed %d", seed)
		require.True(t, slices.ContainsFunc(entries, func(e audit.Entry) bool { return e.Told != nil && e.Told.Word == audit.Unknown }), "seed %d", seed)
	}
}

func report(t *testing.T, seed uint64, entries []audit.Entry, violations []audit.Violation) {
	for _, v := range violations {
		t.Errorf("seed %d: %s", seed, v)
	}
	if len(violations) == 0 || soak.Number(t, "INTENTS_SCHEDULES", 0) == 1 {
		for _, line := range history(entries) {
			fmt.Println(line)
		}
		return
	}
	t.Logf("play it again: INTENTS_SEED=%d INTENTS_SCHEDULES=1 go test -count=1 -run Simulated -v ./internal/simulation", seed)
}

func TestASeedGivesTheSameHistory(t *testing.T) {
	seed := soak.Seed(t)
	quiet := slog.New(slog.DiscardHandler)
	histories := make(map[string]bool)
	const n = 12
	others := 0
	for i := range uint64(n) {
		// Now and then two things happen at one instant, and in another order; the first
		// history can be such a rare one, too.
		var seen [][]string
		again := false
		for tries := 0; !again && tries < 8; tries++ {
			played := play(t, draw(seed+i), quiet)
			again = slices.ContainsFunc(seen, func(h []string) bool { return difference(h, history(played)) == "" })
			seen = append(seen, history(played))
			if again {
				histories[hash(played)] = true
				others += len(seen) - 2
			}
		}
		if !again {
			require.Empty(t, difference(seen[0], seen[1]), "seed %d", seed+i)
		}
	}
	require.Greater(t, len(histories), n/2, "schedules differ")
	t.Logf("%d seeds, %d other histories before the same one came", n, others)
}

// difference is where two histories part.
func difference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i] + "\n" + b[i]
		}
	}
	if len(a) != len(b) {
		return "one goes on"
	}
	return ""
}

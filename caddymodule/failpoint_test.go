//go:build e2e && failpoints

package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// before are the points at which an earlier life has to end, so that a later one comes
// to these.
var before = map[failpoint.Point]failpoint.Point{
	failpoint.Uncertain:  failpoint.Reserved,
	failpoint.Claimed:    failpoint.Appended,
	failpoint.Clarifying: failpoint.Marked,
}

// often are points that a process comes to at every write.
var often = map[failpoint.Point]int{failpoint.Committing: 100, failpoint.Committed: 100, failpoint.Rung: 100}

// TestADeathAtAnyStepLosesNothing has the process kill itself at every point, restarts
// it, and audits. A point that is not reached fails.
func TestADeathAtAnyStepLosesNothing(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	times := int(soak.Number(t, "INTENTS_TIMES", 1))
	require.Empty(t, os.Getenv(failpoint.Variable), "this process is the test")
	for i, point := range failpoint.All {
		t.Run(string(point), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			tr := newTrial(t, seed+uint64(i))
			for range times {
				n := 1 + random.IntN(max(3, often[point]))
				tr.misbehaveFor(point)
				tr.dieAt(point, n)
				tr.p.backend.Recovers()
				tr.audit()
			}
			tr.start()
			stop := tr.load(200) // it works
			<-time.After(200 * time.Millisecond)
			stop()
			tr.finish()
		})
	}
	t.Logf("%d points, %d deaths at each, in %s", len(failpoint.All), times, time.Since(begun).Round(time.Millisecond))
}

// misbehaveFor has the backend answer so that the process comes to a point.
func (tr *trial) misbehaveFor(p failpoint.Point) {
	switch p {
	case failpoint.Dropping:
		tr.p.backend.Meets(legacytest.Submits, legacytest.Code(500, ""), legacytest.Always)
	case failpoint.Expiring: // of a submit that is not delivered in its time
		tr.p.backend.Meets(legacytest.Submits, legacytest.Code(503, ""), legacytest.Always)
	}
}

// dieAt has the process die at a point, for the n-th time that it comes to it.
func (tr *trial) dieAt(p failpoint.Point, n int) {
	tr.t.Helper()
	first, atStart := before[p]
	if !atStart {
		require.True(tr.t, tr.diesAt(p, n, 30*time.Second), "%s was not reached", p)
		return
	}
	for range 20 { // what the life before leaves is not always of the kind
		require.True(tr.t, tr.diesAt(first, 1, 30*time.Second), "%s was not reached", first)
		if tr.diesAt(p, 1, 2*time.Second) {
			return
		}
	}
	require.Fail(tr.t, "a point was not reached", "%s", p)
}

// diesAt starts the process, lets clients submit, and reports whether it dies at a
// point within a limit. If not it is killed.
func (tr *trial) diesAt(p failpoint.Point, n int, limit time.Duration) (died bool) {
	tr.t.Helper()
	tr.p.Env = []string{fmt.Sprintf("%s=%s:%d", failpoint.Variable, p, n)}
	_ = tr.p.TryStart() // it may die while it starts
	tr.ledger.Write(audit.Entry{Life: "begins"})
	stop := tr.load(200)
	select {
	case <-tr.p.Exited:
		died = true
	case <-time.After(limit):
		tr.p.Kill()
	}
	stop()
	tr.ledger.Write(audit.Entry{Life: "ends"})
	require.Equal(tr.t, -1, tr.p.ExitCode(), "it was killed:\n%s", tr.p.Log)
	return died
}

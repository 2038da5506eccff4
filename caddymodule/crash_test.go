//go:build e2e

package caddymodule_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// TestKillAtARandomMomentLosesNothingAcknowledged kills a real Caddy under load, again
// and again, and has an auditor hold what everybody saw against the store.
func TestKillAtARandomMomentLosesNothingAcknowledged(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	n := soak.Number(t, "INTENTS_ROUNDS", 5)
	tr := newTrial(t, seed)
	for i := range n {
		tr.start()
		stop := tr.load(200)
		// Anywhere in a second: within a submit, a commit, a poll, or between them.
		<-time.After(time.Duration(50+random.IntN(950)) * time.Millisecond)
		tr.kill()
		stop()
		if i%10 == 9 {
			tr.audit() // the ledger grows, and so does the time that an audit takes
		}
	}
	tr.start()
	tr.finish()
	t.Logf("%d kills, %d clients, told %v, %d jobs, in %s",
		n, tr.clients, tr.told, len(tr.p.backend.Jobs()), time.Since(begun).Round(time.Millisecond))
}

//go:build e2e

package caddymodule_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

func onSentinels(g *redistest.Guard, more string) string {
	return "store redis redis://" + strings.Join(g.Addrs(), " redis://") + " {\nmode sentinel\nmaster " + redistest.MasterName + "\n" + more + "\n}"
}

// TestAFailoverUnderLoadLosesNothingAcknowledged has clients submit at two Caddys while
// the master of their Redis is killed again and again. With a copy confirmed, each intent
// that a client was told of ends, and its observer sees all of it.
func TestAFailoverUnderLoadLosesNothingAcknowledged(t *testing.T) {
	begun := time.Now()
	guard := redistest.StartGuard(t)
	f := newFleet(t, 2, onSentinels(guard, "min_replicas_ack 1"))
	f.backend.EveryJobSays(legacytest.Status{State: "pending"}, legacytest.Status{State: "running", Percent: 20},
		legacytest.Status{State: "running", Percent: 80}, legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	var mu sync.Mutex
	var watchers []*lookout
	unavailable := 0
	over := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 {
		at := f.all[i%2]
		clients.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(20 * time.Millisecond):
				}
				id, resp, body := f.post(at)
				if resp.StatusCode != http.StatusAccepted {
					t.Errorf("an old client got %d %s", resp.StatusCode, body)
					return
				}
				mu.Lock()
				if id == "" {
					unavailable++
				} else {
					watchers = append(watchers, f.observe(id, f.all[0], f.all[1]))
				}
				mu.Unlock()
			}
		})
	}
	acknowledged := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(watchers)
	}
	more := func() {
		before := acknowledged()
		require.Eventually(t, func() bool { return acknowledged() > before+20 }, time.Minute, 20*time.Millisecond)
	}
	for range soak.Number(t, "INTENTS_FAILOVERS", 3) {
		more()
		guard.FailOver(t)
	}
	more()
	close(over)
	clients.Wait()
	resets := 0
	for _, w := range watchers {
		saw := w.saw()
		resets += w.resets
		if w.resets == 0 {
			require.True(t, strings.HasPrefix(saw, "created submitted delivered in_progress"), saw)
			require.True(t, strings.HasSuffix(saw, "completed"), saw)
		}
	}
	t.Logf("%d intents acknowledged, %d jobs without one, %d resets, in %s", len(watchers), unavailable, resets, time.Since(begun).Round(time.Millisecond))
}

func TestWhatAFailoverLosesResetsObservers(t *testing.T) {
	guard := redistest.StartGuard(t)
	f := newFleet(t, 2, onSentinels(guard, ""))
	a, b := f.all[0], f.all[1]
	id, job := f.submit(a)
	watchers := []*lookout{f.observe(id, a), f.observe(id, b)}
	f.says(job, "begun", 10)
	for _, w := range watchers {
		w.await("begun")
	}
	<-time.After(time.Second) // the replica has it
	guard.CutLink(t)
	f.says(job, "will be lost", 20)
	for _, w := range watchers {
		w.await("will be lost")
	}
	f.says(job, "after", 30)
	guard.Nodes[0].Kill()
	guard.Master(t)
	for _, w := range watchers {
		require.Eventually(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.resets > 0 }, time.Minute, 10*time.Millisecond)
	}
	f.backend.Finishes(job)
	for _, w := range watchers {
		w.saw()
		require.Equal(t, intent.Completed, w.status, "by its event, or by another reset")
	}
	_, in := f.get(b, id)
	require.Equal(t, "COMPLETED", in["status"])
}

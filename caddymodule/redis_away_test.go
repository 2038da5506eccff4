//go:build e2e

package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// asked waits until a poll of a job has begun after now: it was told what the job says now.
func (f *fleet) asked(job string) {
	f.t.Helper()
	f.poller(job, time.Now())
}

// messages are what the observer was told, in its order, one of a kind.
func (l *lookout) messages() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if m := e.Details.Message; m != "" && (len(all) == 0 || all[len(all)-1] != m) {
			all = append(all, m)
		}
	}
	return all
}

// isOver reports whether the end was seen.
func (l *lookout) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status.Terminal()
}

func TestWhatHappensWhileRedisHangsOrIsDeadArrivesAfterwardsInOrder(t *testing.T) {
	outage := time.Duration(soak.Number(t, "INTENTS_HANG", 8)) * time.Second
	for name, redis := range map[string]struct{ leaves, comesBack func(*redistest.Server) }{
		"hangs":   {func(s *redistest.Server) { s.Pause(t) }, func(s *redistest.Server) { s.Resume(t) }},
		"is dead": {func(s *redistest.Server) { s.Kill() }, func(s *redistest.Server) { s.Restart(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "--appendfsync", "always")
			f := newFleet(t, 2, onRedis(server))
			a, b := f.all[0], f.all[1]
			id, job := f.submit(a)
			running, runningJob := f.submit(a)
			atA, atB, other := f.observe(id, a), f.observe(id, b), f.observe(running, b)
			f.says(job, "begun", 10)
			f.says(runningJob, "begun", 10)
			for _, l := range []*lookout{atA, atB, other} {
				l.await("begun")
			}

			redis.leaves(server)
			away := time.Now()
			f.says(job, "meanwhile", 20)
			f.asked(job)
			f.backend.Finishes(job)
			f.asked(job)
			f.backend.Forgets(job)
			f.says(runningJob, "meanwhile", 20)
			f.asked(runningJob)
			require.Less(t, time.Since(away), term, "the backend is asked for as long as the lease lasts")
			<-time.After(time.Until(away.Add(outage)))
			if outage > term {
				require.Empty(t, f.pollers(runningJob, away.Add(term)), "and no longer")
			}
			back := time.Now()
			redis.comesBack(server)

			for _, l := range []*lookout{atA, atB} {
				require.Eventually(t, l.isOver, 90*time.Second, 20*time.Millisecond, "the end does not arrive: %s%s", a.Log, b.Log)
			}
			t.Logf("what was kept arrived %s after Redis was back", time.Since(back).Round(time.Millisecond))
			require.True(t, strings.HasSuffix(atA.saw(), "in_progress in_progress completed"), atA.saw())
			require.Equal(t, atA.saw(), atB.saw())
			for _, l := range []*lookout{atA, atB} {
				require.Equal(t, []string{"begun", "meanwhile"}, l.messages())
				require.Zero(t, l.resets)
				end := l.events[len(l.events)-1]
				require.True(t, end.At.After(away) && end.At.Before(back), "an event tells when it was read")
			}
			f.says(runningJob, "afterwards", 30)
			other.await("afterwards")
			t.Logf("what was read afterwards arrived %s after it", time.Since(back).Round(time.Millisecond))
			f.backend.Finishes(runningJob)
			require.True(t, strings.HasSuffix(other.saw(), "completed"))
			require.Equal(t, []string{"begun", "meanwhile", "afterwards"}, other.messages())
			require.Zero(t, other.resets)
			require.Len(t, f.pollers(job, time.Time{}), 1, "nothing changed hands")
			require.Len(t, f.pollers(runningJob, time.Time{}), 1)
		})
	}
}

func TestASilentNodeOfAClusterHoldsOldClientsUpOnce(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, "--cluster-require-full-coverage", "no")
	f := newFleet(t, 1, "store redis redis://"+strings.Join(redistest.Addrs(nodes), " redis://")+" {\nmode cluster\n}")
	at := f.all[0]
	f.oldClient(at)
	nodes[2].Pause(t)
	// Somebody needs the silent node for an intent, and somebody for a status.
	for kept := true; kept; {
		id, resp, _ := f.post(at)
		require.Equal(t, http.StatusAccepted, resp.StatusCode)
		kept = id != ""
	}
	var slowest time.Duration
	for range 10 {
		slowest = max(slowest, f.oldClient(at))
	}
	require.Less(t, slowest, 3*time.Second, "less than one call to Redis may take")
	// Which node an intent is at is a matter of milliseconds.
	made, passed := 0, 0
	for n := 0; made == 0 || passed == 0; n++ {
		require.Less(t, n, 10_000, "%d intents were made, %d jobs have none", made, passed)
		if id, _, _ := f.post(at); id != "" {
			made++
		} else {
			passed++
		}
	}
	nodes[2].Resume(t)
	require.Eventually(t, func() bool {
		for begun := time.Now(); time.Since(begun) < 200*time.Millisecond; {
			if id, _, _ := f.post(at); id == "" {
				return false
			}
		}
		return true
	}, time.Minute, time.Second)
}

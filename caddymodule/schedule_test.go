//go:build e2e

package caddymodule_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// atOnce, which is also -parallel in make faults, is how many Caddys and backends have schedules at the same time: most of one is
// waiting.
const atOnce = 8

// TestBackendFaultSchedulesLoseNothing gives a backend another schedule of faults in each
// round, drawn from the seed and the number of the round, while clients submit. After each
// an auditor holds what everybody saw against a copy of the store.
func TestBackendFaultSchedulesLoseNothing(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	n := int(soak.Number(t, "INTENTS_BACKEND_SCHEDULES", 6))
	first := int(soak.Number(t, "INTENTS_FIRST_SCHEDULE", 0)) // to repeat one
	workers := min(atOnce, max(1, n/3))
	var mu sync.Mutex
	var clients, jobs int
	played := make(map[string]int)
	t.Run("at once", func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				s := newScheduled(t, seed)
				for round := first + worker; round < first+n; round += workers {
					s.play(round)
				}
				s.tr.finish()
				mu.Lock()
				defer mu.Unlock()
				clients += s.tr.clients
				jobs += len(s.tr.p.backend.Jobs())
				for name, times := range s.road.played {
					played[name] += times
				}
			})
		}
	})
	t.Logf("%d schedules, %d clients, %d jobs, faults %v, in %s", n, clients, jobs, played, time.Since(begun).Round(time.Millisecond))
}

// A scheduled is a trial whose backend has schedules of faults.
type scheduled struct {
	t         *testing.T
	tr        *trial
	road      *roadway
	elsewhere string // must not be asked
}

func newScheduled(t *testing.T, seed uint64) *scheduled {
	tr := newTrial(t, seed)
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(func() {
		elsewhere.Close()
		require.Zero(t, asked.Load(), "a redirect was followed to another server")
	})
	s := &scheduled{t: t, tr: tr, road: newRoadway(t, tr.witness), elsewhere: elsewhere.URL}
	tr.p.to = s.road.addr
	tr.configure(asUsual)
	tr.start()
	return s
}

// spoils are the faults of the way, for requests of any kind.
var spoils = map[string]legacytest.Fault{
	"reset before the head": legacytest.Reset,
	"reset after the head":  legacytest.CutAfter(0),
	"half a body":           legacytest.CutAfter(0.5),
	"a body cut at its end": legacytest.CutAfter(1),
	"drip":                  legacytest.Drip(2 * time.Millisecond),
	"hints":                 legacytest.Hints(50),
	"a flood of hints":      legacytest.Hints(2000),
	"garbage":               legacytest.Garbage,
	"500":                   legacytest.Code(500, ""),
	"502":                   legacytest.Code(502, ""),
	"503":                   legacytest.Code(503, "1"),
	"429":                   legacytest.Code(429, "1"),
	"html":                  legacytest.HTML,
	"late":                  legacytest.Late(400 * time.Millisecond),
	"answer lost":           legacytest.AnswerLost,
}

// play plays a round: twelve clients within a third of a second, and something that goes
// wrong every now and then.
func (s *scheduled) play(round int) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("INTENTS_SEED=%d INTENTS_FIRST_SCHEDULE=%d INTENTS_BACKEND_SCHEDULES=1 plays it again", s.tr.seed, round)
		}
	}()
	random := rand.New(rand.NewPCG(s.tr.seed, uint64(round)))
	var clients sync.WaitGroup
	for range 12 {
		own := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
		at := time.Duration(random.IntN(300)) * time.Millisecond
		clients.Go(func() {
			<-time.After(at)
			s.tr.submit(own)
		})
	}
	for range 3 + random.IntN(4) {
		s.step(random)
		<-time.After(time.Duration(random.IntN(80)) * time.Millisecond)
	}
	s.road.recovers()
	s.tr.p.backend.Recovers()
	s.road.open(s.t)
	clients.Wait()
	s.tr.observers.Wait()
	s.tr.auditCopy()
}

// step has one more thing go wrong.
func (s *scheduled) step(random *rand.Rand) {
	switch random.IntN(10) {
	case 0:
		s.road.close() // refused, until something else goes wrong, or the end of the round
		s.road.note("refused")
		return
	case 1:
		s.road.close() // a backend that is started again: all connections break
		s.road.open(s.t)
		s.road.note("backend restarted")
		return
	case 2:
		if random.IntN(3) == 0 {
			s.restart(random.IntN(2) == 0)
		}
		return
	case 3:
		s.road.meets(legacytest.Polls, "redirect elsewhere", legacytest.Elsewhere(s.elsewhere+"/reports/status/job-1"), 1+random.IntN(6))
		return
	case 4:
		s.road.meets(legacytest.Polls, "the name of another", legacytest.OfAnother, 1+random.IntN(12))
		return
	}
	s.road.open(s.t)
	names := slices.Sorted(maps.Keys(spoils))
	name := names[random.IntN(len(names))]
	kind := []legacytest.Kind{legacytest.Submits, legacytest.Polls, legacytest.Polls, legacytest.Cancels}[random.IntN(4)]
	s.road.meets(kind, name, spoils[name], 1+random.IntN(10))
}

// restart ends Caddy, by SIGTERM or kill -9, and starts it again.
func (s *scheduled) restart(killed bool) {
	if killed {
		s.road.note("caddy killed")
		s.tr.kill()
	} else {
		s.road.note("caddy restarted")
		s.tr.stop()
	}
	s.tr.start()
}

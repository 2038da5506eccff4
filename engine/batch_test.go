package engine_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// A listing is the backend with one request more: GET /reports/statuses?ids=a,b.
type listing struct {
	*legacytest.Backend
	keyed bool // by state, with ids

	mu    sync.Mutex
	asked []asked
	hides map[string]bool // jobs that are not in the list, as if they were unknown
	meets http.HandlerFunc
}

// An asked is one batch as the backend got it.
type asked struct {
	ids []string
	at  time.Duration
}

func (b *listing) Send(w http.ResponseWriter, r *http.Request) error {
	ids, err := url.QueryUnescape(strings.TrimPrefix(r.URL.RawQuery, "ids="))
	if r.URL.Path != "/reports/statuses" || err != nil {
		return b.Backend.Send(w, r)
	}
	b.mu.Lock()
	b.asked = append(b.asked, asked{strings.Split(ids, ","), time.Since(bubbleStart)})
	trouble := b.meets
	b.mu.Unlock()
	if trouble != nil {
		trouble(w, r)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(b.answer(strings.Split(ids, ",")))
}

func (b *listing) answer(ids []string) any {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []any
	byState := make(map[string][]string)
	for _, id := range ids {
		if j, ok := b.Job(id); ok && !b.hides[id] {
			list = append(list, map[string]any{"job_id": id, "status": j.Status.State, "percent": j.Status.Percent})
			byState[j.Status.State] = append(byState[j.Status.State], id)
		}
	}
	if b.keyed {
		return byState
	}
	return map[string]any{"jobs": list}
}

func (b *listing) batches() []asked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]asked(nil), b.asked...)
}

// meet has all batches answered by f from now on; nil for an answer again.
func (b *listing) meet(f http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.meets = f
}

func (b *listing) hide(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hides = map[string]bool{id: true}
}

// inBatches runs a test with a job that has a batch.
func inBatches(t *testing.T, test func(t *testing.T, et *tester, b *listing), configure ...func(*engine.Job, *adapter.Spec)) {
	t.Helper()
	b := new(listing)
	inBubble(t, func(t *testing.T, et *tester) {
		b.Backend = et.backend
		et.reload(append([]func(*engine.Job, *adapter.Spec){b.behind}, configure...)...)
		test(t, et, b)
	})
}

// behind puts the backend behind a job.
func (b *listing) behind(j *engine.Job, s *adapter.Spec) {
	j.Backend = &engine.Backend{Name: "default", Transport: b, InFlight: 64, Rate: 100}
	s.Poll = &adapter.Poll{Batch: &adapter.Batch{Target: "/reports/statuses?ids={job_ids}", Elements: "body.jobs"}}
}

func (et *tester) submitMany(n int) (ids []intent.ID, jobs []string) {
	for range n {
		id, job := et.submit()
		ids, jobs = append(ids, id), append(jobs, job)
	}
	return ids, jobs
}

func (et *tester) watchAll(ids []intent.ID, d time.Duration) {
	for _, id := range ids {
		et.watch(id, d)
	}
}

func TestThreeHundredJobsAreThreeRequestsAnInterval(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(300)
		et.watchAll(ids, time.Hour)
		et.advance(10 * time.Second) // 0.5 s, 2.5 s, ... 8.5 s
		require.Len(t, b.batches(), 15)
		require.Empty(t, et.polls())
		for _, job := range jobs {
			et.backend.Finishes(job)
		}
		et.advance(2 * time.Second)
		for _, id := range ids {
			require.Equal(t, intent.Completed, et.get(id).Status)
		}
		et.advance(time.Minute)
		require.Len(t, b.batches(), 18)
	})
}

func TestNoJobOfABatchIsAskedSoonerThanItsIntervalAllows(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		for range 50 {
			et.submit()
			et.advance(70 * time.Millisecond)
		}
		et.advance(10 * time.Minute)
		last := make(map[string]time.Duration)
		note := func(id string, at time.Duration) {
			before, ok := last[id]
			require.True(t, !ok || at-before >= 2*time.Second, "%s at %s and at %s", id, before, at)
			last[id] = at
		}
		require.Less(t, len(b.batches())+len(et.polls()), 50*12, "far fewer requests than polls one by one")
		for _, a := range merged(b.batches(), et.polls()) {
			for _, id := range a.ids {
				note(id, a.at)
			}
		}
		require.Len(t, last, 50)
	})
}

// merged puts batches and single polls in order of time.
func merged(batches []asked, polls []legacytest.Asked) []asked {
	all := batches
	for _, p := range polls {
		all = append(all, asked{[]string{strings.TrimPrefix(p.Path, "/reports/status/")}, p.At.Sub(bubbleStart)})
	}
	for i := range all {
		for k := i; k > 0 && all[k].at < all[k-1].at; k-- {
			all[k], all[k-1] = all[k-1], all[k]
		}
	}
	return all
}

func TestWatchedJobsFallIntoStepAndAreHardlyDelayed(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		for range 20 {
			id, _ := et.submit()
			et.watch(id, time.Hour)
			et.advance(100 * time.Millisecond)
		}
		et.advance(time.Minute)
		before := len(b.batches())
		last := make(map[string]time.Duration)
		for _, a := range merged(b.batches(), et.polls()) {
			for _, id := range a.ids {
				if at, ok := last[id]; ok {
					require.GreaterOrEqual(t, a.at-at, 2*time.Second)
					require.LessOrEqual(t, a.at-at, 2200*time.Millisecond)
				}
				last[id] = a.at
			}
		}
		et.advance(20 * time.Second)
		steady := b.batches()[before:]
		require.Len(t, steady, 10, "one request an interval for all of them")
		for i := 1; i < len(steady); i++ {
			require.Len(t, steady[i].ids, 20)
			require.Equal(t, 2*time.Second, steady[i].at-steady[i-1].at)
		}
	})
}

func TestRetryAfterOfABatchHoldsForAllItsJobs(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(10)
		et.watchAll(ids, time.Hour)
		b.meet(code(503, "60"))
		et.advance(time.Second)
		b.meet(nil)
		require.Len(t, b.batches(), 1)
		et.advance(59 * time.Second)
		require.Len(t, b.batches(), 1)
		require.Empty(t, et.polls())
		et.backend.Finishes(jobs[7])
		et.advance(2 * time.Second)
		require.Equal(t, intent.Completed, et.get(ids[7]).Status)
		require.Equal(t, intent.InProgress, et.get(ids[6]).Status)
	})
}

func code(status int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(status)
		fmt.Fprint(w, `{"message":"no"}`)
	}
}

func TestAJobThatIsMissingFromABatchIsAskedForAloneAtOnce(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(10)
		et.backend.Finishes(jobs[3]) // and the list has those that run
		b.hide(jobs[3])
		et.advance(600 * time.Millisecond)
		require.Equal(t, intent.Completed, et.get(ids[3]).Status)
		require.Equal(t, []time.Duration{500 * time.Millisecond}, et.pollsAt(jobs[3]))
		require.Len(t, et.polls(), 1)
		require.Len(t, b.batches(), 1)
	})
}

func TestABatchByStateIsRead(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		b.keyed = true
		ids, jobs := et.submitMany(3)
		et.backend.Says(jobs[0], "running", 0)
		et.backend.Fails(jobs[1], "no")
		et.backend.Finishes(jobs[2])
		et.advance(600 * time.Millisecond)
		require.Equal(t, intent.InProgress, et.get(ids[0]).Status)
		require.Equal(t, intent.Failed, et.get(ids[1]).Status)
		require.Equal(t, intent.Completed, et.get(ids[2]).Status)
		require.Empty(t, et.polls())
	}, func(_ *engine.Job, s *adapter.Spec) { s.Poll.Batch.Elements, s.Poll.Batch.Keyed = "", "state" })
}

func TestABackendThatRefusesBatchesIsAskedOneByOneForAWhile(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(10)
		et.watchAll(ids, time.Hour)
		b.meet(code(404, "")) // about the batch, and about no job
		et.backend.Finishes(jobs[4])
		et.advance(600 * time.Millisecond)
		require.Equal(t, intent.Completed, et.get(ids[4]).Status, "each is asked alone at once")
		require.Len(t, et.polls(), 10)
		et.advance(5 * time.Minute)
		require.Len(t, b.batches(), 1)
		require.Len(t, et.log.with("one by one"), 1)
		b.meet(nil)
		et.advance(6 * time.Minute)
		require.Greater(t, len(b.batches()), 10, "and then it is tried again")
	})
}

func TestGarbledBatchesAreGivenUpBeforeTheJobsAre(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(10)
		b.meet(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>busy</html>`) })
		et.advance(time.Minute)
		require.LessOrEqual(t, len(b.batches()), 10)
		for i, job := range jobs {
			et.backend.Finishes(job)
			require.Equal(t, intent.InProgress, et.get(ids[i]).Status)
		}
		et.advance(time.Minute)
		for _, id := range ids {
			require.Equal(t, intent.Completed, et.get(id).Status)
		}
	})
}

func TestAnOutageOfBatchesFailsNothing(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(10)
		b.meet(code(502, ""))
		et.advance(time.Hour)
		require.Equal(t, "backend", et.get(ids[0]).Waiting)
		require.Empty(t, et.polls(), "a backend that is away is not asked ten times as often")
		b.meet(nil)
		et.backend.Finishes(jobs[0])
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(ids[0]).Status)
		require.Empty(t, et.get(ids[1]).Waiting)
	})
}

func TestARestartAsksTogetherToo(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(300)
		et.advance(time.Second)
		before := len(b.batches())
		et.restart()
		et.advance(3 * time.Second)
		require.LessOrEqual(t, len(b.batches())-before, 6)
		require.Empty(t, et.polls())
		et.backend.Finishes(jobs[250])
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(ids[250]).Status)
	})
}

func TestAReloadBringsBatchesAndTakesThemAway(t *testing.T) {
	b := new(listing)
	inBubble(t, func(t *testing.T, et *tester) {
		b.Backend = et.backend
		ids, _ := et.submitMany(10)
		et.watchAll(ids, time.Hour)
		et.advance(time.Second)
		require.Len(t, et.polls(), 10)
		et.reload(b.behind)
		et.advance(4 * time.Second) // at 2.5 s one by one, once more; at 4.5 s together
		require.Len(t, et.polls(), 20)
		require.Len(t, b.batches(), 1)
		et.reload()
		et.advance(2 * time.Second)
		require.Len(t, et.polls(), 30)
		require.Len(t, b.batches(), 1)
	})
}

func TestDeadlinesAreKeptInABatch(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(10)
		et.watchAll(ids, time.Hour)
		et.advance(9 * time.Second)
		et.backend.Finishes(jobs[1])
		et.advance(1100 * time.Millisecond)
		require.Equal(t, intent.Completed, et.get(ids[1]).Status)
		for i, id := range ids {
			if i != 1 {
				require.Equal(t, intent.TimedOut, et.get(id).Status)
				require.Len(t, et.backend.AskedFor("DELETE", "/reports/status/"+jobs[i]), 1)
			}
		}
		require.Len(t, b.batches(), 5)
	}, func(j *engine.Job, _ *adapter.Spec) {
		j.Deadline = 10 * time.Second
		j.CancelAtDeadline = true
	})
}

func TestJobsOfTwoHostsShareNoRequest(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		for i := range 10 {
			et.post(func(r *http.Request) { r.Host = []string{"a.example.com", "b.example.com"}[i%2] })
		}
		et.advance(time.Second)
		require.Len(t, b.batches(), 2)
		require.Len(t, b.batches()[0].ids, 5)
	})
}

func TestBatchesAreNoLargerThanMax(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		et.submitMany(10)
		et.advance(time.Second)
		require.Len(t, b.batches(), 3)
		for _, a := range b.batches() {
			require.LessOrEqual(t, len(a.ids), 4)
		}
	}, func(_ *engine.Job, s *adapter.Spec) { s.Poll.Batch.Max = 4 })
}

func TestAnIDWithACommaIsAskedForAlone(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, _ := et.submitMany(4)
		et.advance(time.Second)
		require.Empty(t, b.batches())
		require.Len(t, et.polls(), 4)
		for _, id := range ids {
			require.Equal(t, intent.InProgress, et.get(id).Status)
		}
	}, func(_ *engine.Job, s *adapter.Spec) { s.JobID = `body.job_id + ',x'` })
}

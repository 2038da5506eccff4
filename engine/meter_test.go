package engine_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

// A ledger is a Meter that keeps what it is told.
type ledger struct {
	mu     sync.Mutex
	polls  []engine.Poll
	ends   []intent.Intent
	unkept []engine.JobName
}

func (l *ledger) Polled(p engine.Poll) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polls = append(l.polls, p)
}

func (l *ledger) Ended(in *intent.Intent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = append(l.ends, *in)
}

func (l *ledger) Unkept(n engine.JobName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unkept = append(l.unkept, n)
}

func (l *ledger) last() engine.Poll {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.polls[len(l.polls)-1]
}

func TestEveryPollIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(time.Second)
		require.Equal(t, engine.Poll{Job: et.job.JobName, Result: engine.PollAnswered}, et.meter.last(), "there was no poll before the first")

		et.backend.Says(job, "archived", 0)
		et.advance(2 * time.Second)
		require.Equal(t, engine.Poll{Job: et.job.JobName, Result: engine.PollAnswered, Delay: 2 * time.Second, Unknown: true}, et.meter.last())

		et.backend.Meets(legacytest.Polls, legacytest.Code(503, ""), 1)
		et.advance(2 * time.Second)
		require.Equal(t, engine.Poll{Job: et.job.JobName, Result: engine.PollUnavailable}, et.meter.last())

		et.backend.Forgets(job)
		et.advance(time.Hour)
		require.Equal(t, engine.PollMissing, et.meter.last().Result)
		require.Len(t, et.meter.polls, len(et.polls()), "none is missed, none is told twice")
		require.Len(t, et.meter.ends, 1)
		require.Equal(t, intent.CodeJobLost, et.meter.ends[0].Error.Code)
	})
}

func TestTheDelayIsFromThePollBeforeToTheStoredEvent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(time.Second) // polled at 0.5 s
		et.backend.Finishes(job)
		et.backend.Meets(legacytest.Polls, legacytest.Late(400*time.Millisecond), 1)
		et.advance(2 * time.Second) // polled at 2.5 s
		p := et.meter.last()
		require.Equal(t, 2400*time.Millisecond, p.Delay)
		require.Equal(t, 400*time.Millisecond, p.Took)
	})
}

func TestOneRequestForManyCountsOnce(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		for range 5 {
			et.submit()
		}
		et.advance(time.Minute)
		alone, shared := 0, 0
		for _, p := range et.meter.polls {
			if p.Shared {
				shared++
			} else {
				alone++
			}
		}
		require.Len(t, b.batches(), alone-len(et.polls()), "but for those who were asked about alone")
		require.Greater(t, shared, alone)
	})
}

func TestASubmitThatTheStoreDoesNotTakeIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.store.fails(store.ErrFull)
		require.Equal(t, "unavailable", et.post().Header().Get("Intent-Status"))
		require.Equal(t, []engine.JobName{et.job.JobName}, et.meter.unkept)
	})
}

// census returns what is counted of the one job.
func (et *tester) census() engine.JobCensus {
	et.t.Helper()
	all := et.engine.Census()
	require.Len(et.t, all, 1)
	return all[0]
}

func (et *tester) wantActive(delivered, inProgress int) {
	et.t.Helper()
	active := et.census().Active
	require.Equal(et.t, []int{0, 0, delivered, inProgress},
		[]int{active[intent.Created], active[intent.Submitted], active[intent.Delivered], active[intent.InProgress]})
}

func TestTheCensusFollowsEveryIntentFromSubmitToEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		require.Equal(t, engine.BreakerClosed, et.census().Breaker, "a job is there before its first submit")
		et.backend.Meets(legacytest.Submits, legacytest.Body("application/json", `{"job_id":"job-0"}`), 1)
		et.submit() // of this one the answer tells no state
		et.wantActive(1, 0)
		_, one := et.submit()
		et.wantActive(1, 1)
		et.advance(time.Hour) // the backend does not know that one
		et.wantActive(0, 1)
		two, _ := et.submit()
		et.wantActive(0, 2)
		et.backend.Finishes(one)
		et.advance(time.Minute)
		et.wantActive(0, 1)
		_, err := et.engine.Cancel(t.Context(), two, engine.Cancellation{})
		require.NoError(t, err)
		et.wantActive(0, 0)
		require.Zero(t, et.census().Unchanged)
	})
}

func TestTheCensusIsTheSameAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		for range 3 {
			et.submit()
			et.advance(time.Minute)
		}
		before := et.census()
		et.restart()
		require.Equal(t, before, et.census())
	})
}

func TestTheOldestIsTheOneTheBackendHasSaidNothingNewOfForLongest(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		first, one := et.submit()
		et.watch(first, 24*time.Hour)
		et.advance(time.Second)
		second, _ := et.submit()
		et.watch(second, 24*time.Hour)
		et.advance(time.Hour)
		require.Equal(t, time.Hour+500*time.Millisecond, et.census().Unchanged, "since the first reading of the first")
		et.backend.Says(one, "running", 10)
		et.advance(2 * time.Second)
		require.InDelta(t, time.Hour+time.Second, et.census().Unchanged, float64(time.Second), "now of the second")
		et.backend.Finishes(one)
		et.advance(time.Hour)
		require.InDelta(t, 2*time.Hour, et.census().Unchanged, float64(10*time.Second))
	})
}

func TestTheCensusTellsOfABackendThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		for range 5 {
			id, _ := et.submit()
			et.watch(id, time.Hour)
		}
		et.backend.Meets(legacytest.Polls, legacytest.Code(502, ""), legacytest.Always)
		et.advance(time.Minute)
		require.Equal(t, engine.BreakerOpen, et.census().Breaker)
		et.backend.Recovers()
		et.advance(time.Minute)
		require.Equal(t, engine.BreakerClosed, et.census().Breaker)
	})
}

func TestTheCensusCountsWhatWaitsForDelivery(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Code(503, ""), legacytest.Always)
		et.post()
		et.post()
		c := et.census()
		require.Equal(t, 2, c.Undelivered)
		require.Equal(t, 2, c.Active[intent.Submitted])
		et.backend.Recovers()
		et.advance(5 * time.Minute)
		c = et.census()
		require.Zero(t, c.Undelivered)
		require.Zero(t, c.Active[intent.Submitted])
	}, func(j *engine.Job, _ *adapter.Spec) { j.Queue = new(engine.DefaultQueue) })
}

// TestTheCensusCountsWhatIsHeld plays random lives and compares with the intents
// themselves.
func TestTheCensusCountsWhatIsHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		var jobs []string
		for i := range 60 {
			id, job := et.submit()
			jobs = append(jobs, job)
			switch i % 5 {
			case 0:
				et.backend.Finishes(jobs[i/2])
			case 1:
				et.backend.Says(jobs[i/3], fmt.Sprint("step ", i), i)
			case 2:
				_, _ = et.engine.Cancel(t.Context(), id, engine.Cancellation{})
			case 3:
				et.backend.Forgets(jobs[i/4])
			}
			et.advance(700 * time.Millisecond)
			et.wantCounted()
		}
		et.advance(48 * time.Hour)
		et.wantCounted()
		et.wantActive(0, 0)
	})
}

// wantCounted compares the census with what the store has.
func (et *tester) wantCounted() {
	et.t.Helper()
	page, err := et.store.List(et.t.Context(), store.Filter{Limit: 1000})
	require.NoError(et.t, err)
	want := map[intent.Status]int{intent.Created: 0, intent.Submitted: 0, intent.Delivered: 0, intent.InProgress: 0}
	for _, in := range page.Intents {
		if !in.Status.Terminal() {
			want[in.Status]++
		}
	}
	require.Equal(et.t, want, et.census().Active)
}

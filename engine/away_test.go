package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

// progress are the percentages that the events of an intent tell, in their order.
func (et *tester) progress(id intent.ID) (told []float64) {
	et.t.Helper()
	for i, e := range et.events(id) {
		require.EqualValues(et.t, i+1, e.Seq, "seq without a gap")
		if e.Details.Progress != nil {
			told = append(told, *e.Details.Progress)
		}
	}
	return told
}

// says lets a job go on at so many percent for one interval.
func (et *tester) says(job string, percent ...int) {
	for _, p := range percent {
		et.backend.Says(job, "running", p)
		et.advance(engine.DefaultPace.Interval)
	}
}

func TestWhatIsReadWhileTheStoreIsAwayIsWrittenInOrderWhenItIsBack(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, job := a.submit()
		b.watch(id, time.Hour)
		a.says(job, 10)
		a.cable.cut.Store(true)
		b.cable.cut.Store(true)
		away := time.Now()
		a.says(job, 20, 30, 40)
		require.Equal(t, []float64{10}, a.progress(id))
		back := time.Now()
		a.cable.cut.Store(false)
		b.cable.cut.Store(false)
		a.advance(time.Second)
		require.Equal(t, []float64{10, 20, 30, 40}, a.progress(id))
		for _, e := range a.events(id)[5:] {
			require.True(t, e.At.After(away) && e.At.Before(back), "an event tells when it was read")
		}
		a.says(job, 50)
		a.backend.Finishes(job)
		a.advance(3 * time.Second)
		require.Equal(t, intent.Completed, b.get(id).Status)
		require.Len(t, a.log.with("does not take what polls bring"), 1)
		require.Len(t, a.log.with("takes what polls bring again"), 1)
	})
}

func TestAStoreThatDoesNotSayWhatItHasIsToldNothingTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.says(job, 10)
		et.store.loses(errDisk) // it has all, and says that it has nothing
		et.says(job, 20, 30, 40)
		et.store.loses(nil)
		et.advance(time.Second)
		require.Equal(t, []float64{10, 20, 30, 40}, et.progress(id))
		et.backend.Finishes(job)
		et.advance(2 * time.Second)
		et.wantEvents(id, "created submitted delivered in_progress in_progress in_progress in_progress in_progress completed")
	})
}

func TestPollsGoOnForAsLongAsTheLeaseDoes(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*replica) {
		a := all[0]
		id, job := a.submit()
		a.watch(id, time.Hour)
		a.says(job, 10)
		a.advance(time.Minute)
		a.cable.cut.Store(true)
		a.polls()
		a.says(job, 20, 30, 40)
		require.EqualValues(t, 3, a.polls())
		a.advance(term)
		require.LessOrEqual(t, a.polls(), int64(5))
		a.advance(time.Hour)
		require.Zero(t, a.polls(), "somebody else may have it")
		a.backend.Says(job, "running", 50)
		a.cable.cut.Store(false)
		a.advance(5 * time.Second)
		require.Equal(t, []float64{10, 20, 30, 40, 50}, a.progress(id), "nobody else had it")
	})
}

func TestAnIntentThatWasJustSubmittedIsPolledWithoutTheStore(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*replica) {
		a := all[0]
		id, job := a.submit()
		a.cable.cut.Store(true)
		a.backend.Finishes(job)
		a.advance(5 * time.Second)
		require.EqualValues(t, 1, a.polls(), "it is over")
		a.backend.Forgets(job)
		a.cable.cut.Store(false)
		a.advance(2 * time.Second)
		require.Equal(t, intent.Completed, a.get(id).Status)
		require.Zero(t, a.engineHolds(id))
	})
}

func TestWhatAReplicaKeptIsLetGoWhenAnotherHasTakenOver(t *testing.T) {
	for name, end := range map[string]bool{"progress": false, "the end": true} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*replica) {
				a, b := all[0], all[1]
				id, job := a.submit()
				b.watch(id, time.Hour)
				a.says(job, 10)
				a.cable.cut.Store(true)
				a.says(job, 20, 30)
				if end {
					a.backend.Fails(job, "only a has heard of this")
					a.advance(2 * time.Second)
					a.backend.Says(job, "running", 30)
				}
				a.advance(2 * term)
				a.says(job, 60)
				require.Positive(t, b.engineHolds(id))
				a.cable.cut.Store(false)
				a.advance(term)
				require.Zero(t, a.engineHolds(id))
				require.Equal(t, []float64{10, 30, 60}, b.progress(id), "what b has read")
				a.backend.Finishes(job)
				a.advance(3 * time.Second)
				require.Equal(t, intent.Completed, b.get(id).Status)
				a.polls()
				a.advance(time.Minute)
				require.Zero(t, a.polls())
			})
		})
	}
}

func TestAStoreThatIsAwayIsAskedLittleAndGivenAllAtOnceWhenItIsBack(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*replica) {
		a := all[0]
		var ids []intent.ID
		var jobs []string
		for range 150 {
			id, job := a.submit()
			ids, jobs = append(ids, id), append(jobs, job)
		}
		a.advance(time.Minute)
		a.cable.cut.Store(true)
		a.finishes(jobs)
		for _, id := range ids {
			require.NoError(t, a.store.Watch(t.Context(), id, time.Now().Add(time.Hour)))
		}
		a.advance(5 * time.Second)
		a.cable.appends.Store(0)
		a.polls()
		a.advance(time.Minute)
		require.LessOrEqual(t, a.cable.appends.Load(), int64(60*4*16), "sixteen tries, at most four times a second")
		require.Zero(t, a.polls(), "all are over")
		a.cable.cut.Store(false)
		a.advance(time.Second)
		require.Equal(t, len(ids), a.ended(ids))
	})
}

func TestACancelOfWhatHasEndedWhileTheStoreIsAwayComesTooLate(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*replica) {
		a := all[0]
		id, job := a.submit()
		a.advance(time.Second)
		a.cable.cut.Store(true)
		a.backend.Finishes(job)
		a.advance(3 * time.Second)
		_, err := a.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.ErrorIs(t, err, store.ErrUnavailable)
		_, err = a.engine.End(t.Context(), id, engine.Ending{})
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.Empty(t, a.backend.AskedFor("DELETE", "/reports/status/"+job))
		a.cable.cut.Store(false)
		in, err := a.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.ErrorIs(t, err, engine.ErrOver)
		require.Equal(t, intent.Completed, in.Status)
	})
}

func TestWhatIsKeptIsWrittenAtTheStopIfTheStoreTakesIt(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*replica) {
		a := all[0]
		id, job := a.submit()
		a.cable.cut.Store(true)
		a.backend.Finishes(job)
		a.advance(time.Second)
		a.cable.cut.Store(false)
		a.engine.Stop()
		require.Equal(t, intent.Completed, a.get(id).Status)
	})
}

// unhurried has polls wait for their answer for an hour.
func unhurried(job *engine.Job, _ *adapter.Spec) { job.Pace.Timeout = time.Hour }

// together has jobs asked about in one request.
func together(_ *engine.Job, s *adapter.Spec) {
	s.Poll = &adapter.Poll{Batch: &adapter.Batch{Target: "/reports/statuses?ids={job_ids}", Elements: "body.jobs"}}
}

func TestAPollUnderWayEndsWithItsLease(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		a.reload(a.asked.bring, unhurried)
		a.asked.hangs.Store(true)
		id, job := a.submit()
		a.advance(time.Minute)
		require.EqualValues(t, 1, a.asked.underWay.Load(), "the lease is renewed")
		a.cable.losesRenewals.Store(true)
		for a.asked.underWay.Load() > 0 {
			require.Zero(t, b.engineHolds(id), "nobody else may ask before")
			a.advance(100 * time.Millisecond)
		}
		for b.engineHolds(id) == 0 {
			require.Zero(t, a.asked.underWay.Load())
			a.advance(100 * time.Millisecond)
		}
		b.backend.Finishes(job)
		b.advance(5 * time.Second)
		require.Equal(t, intent.Completed, b.get(id).Status)
		require.Zero(t, a.asked.underWay.Load())
	})
}

func TestAPollUnderWayEndsWhenAnotherReplicaHasTakenOver(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		a.reload(a.asked.bring, unhurried)
		a.asked.hangs.Store(true)
		id, _ := a.submit()
		a.advance(time.Minute)
		require.EqualValues(t, 1, a.asked.underWay.Load())
		_, err := b.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.NoError(t, err)
		a.advance(term/3 + time.Second)
		require.Zero(t, a.asked.underWay.Load())
		a.advance(3 * time.Second)
		require.Zero(t, a.engineHolds(id))
	})
}

func TestAPollOfSeveralEndsWhenAllOfThemAreTakenOver(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		a.reload(a.asked.bring, unhurried, together)
		b.reload(b.asked.bring, together)
		a.asked.hangs.Store(true)
		first, _ := a.submit()
		second, _ := a.submit()
		a.advance(time.Minute)
		require.EqualValues(t, 1, a.asked.underWay.Load())
		_, err := b.engine.Cancel(t.Context(), first, engine.Cancellation{})
		require.NoError(t, err)
		a.advance(term/3 + time.Second)
		require.EqualValues(t, 1, a.asked.underWay.Load(), "the other is still asked about")
		_, err = b.engine.Cancel(t.Context(), second, engine.Cancellation{})
		require.NoError(t, err)
		a.advance(term/3 + time.Second)
		require.Zero(t, a.asked.underWay.Load())
	})
}

// What a full disk does not take is kept as well: the backend may forget what it has told.
func TestAFullStoreIsGivenLaterWhatTheBackendHasForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.says(job, 10)
		et.store.fails(store.ErrFull)
		et.says(job, 20, 30)
		require.Equal(t, engine.Current, et.engine.Look(id).State)
		et.backend.Finishes(job)
		et.advance(3 * time.Second)
		require.Equal(t, engine.Over, et.engine.Look(id).State)
		require.Equal(t, engine.Storing, et.inspect(id).Doing)
		et.backend.Forgets(job)
		polls := et.backend.Polls(job)
		et.advance(time.Hour)
		require.Equal(t, polls, et.backend.Polls(job))
		require.Equal(t, engine.Unknown, et.engine.Look(id).State, "the backend may have something else to say")
		et.store.fails(nil)
		et.advance(time.Second)
		et.wantEvents(id, "created submitted delivered in_progress in_progress in_progress in_progress completed")
		require.Equal(t, []float64{10, 20, 30, 30}, et.progress(id))
	})
}

func TestWhatIsKeptOfOneIntentIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, 24*time.Hour)
		et.store.fails(store.ErrFull)
		for i := range 400 {
			et.backend.SaysAll(job, legacytest.Status{State: "running", Step: fmt.Sprintf("%d %s", i, strings.Repeat("x", 900)), Percent: i % 90})
			et.advance(2 * time.Second)
		}
		require.Len(t, et.log.with("no room to keep more"), 1)
		et.backend.Finishes(job)
		et.advance(5 * time.Second)
		et.backend.Forgets(job)
		require.Equal(t, engine.Storing, et.inspect(id).Doing, "there is always room for the end")
		et.store.fails(nil)
		et.advance(time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
		kept := len(et.progress(id))
		require.Greater(t, kept, 20)
		require.Less(t, kept, 60, "64 KiB, of 900 and more bytes each")
	})
}

func TestWhatIsKeptOfAllIsBoundedAndTheOthersAreAskedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		ids, _ := et.holds(800)
		et.store.fails(store.ErrFull)
		et.backend.Meets(legacytest.Polls, legacytest.Body("application/json", `{"status":"done","rows":"`+strings.Repeat("x", 23<<10)+`"}`), legacytest.Always)
		et.advance(10 * time.Second)
		storing := 0
		for _, id := range ids {
			if et.inspect(id).Doing == engine.Storing {
				storing++
			}
		}
		require.Greater(t, storing, 400)
		require.Less(t, storing, 720, "32 MiB, of more than 46 KiB each")
		require.Greater(t, len(et.polls()), len(ids), "the others are asked again")
		require.Len(t, et.log.with("no room to keep more"), 1)
		et.store.fails(nil)
		et.advance(10 * time.Second)
		require.Equal(t, len(ids), et.ended(ids))
	})
}

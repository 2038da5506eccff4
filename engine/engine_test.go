package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

func TestARestartGoesOnWhereItStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "running", 10)
		et.advance(time.Minute)
		et.restart()
		et.backend.Finishes(job)
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestIntentsOfAJobThatIsGoneFromTheConfigWaitForItsReturn(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(time.Second)
		et.use() // a config without jobs
		et.backend.Finishes(job)
		before := len(et.pollsAt(job))
		et.advance(time.Hour)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		require.Len(t, et.pollsAt(job), before)
		require.Len(t, et.log.with("wait for their deadline"), 1)
		et.use(et.job)
		et.advance(time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAParkedIntentEndsAtItsDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.use()
		et.advance(25 * time.Hour)
		require.Equal(t, intent.TimedOut, et.get(id).Status)
	})
}

func TestARevertedReloadLeavesTheOldSettings(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		revert := et.engine.Use(&engine.Generation{Logger: et.engineLogger()})
		revert()
		et.backend.Finishes(job)
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestNoMorePollsAtTheSameTimeThanInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		for range 10 {
			et.submit()
		}
		et.backend.Meets(legacytest.Polls, legacytest.Late(time.Second), legacytest.Always)
		et.advance(time.Second) // all were due at 0.5 s
		require.Len(t, et.polls(), 3)
		et.advance(time.Second)
		require.Len(t, et.polls(), 6)
	}, func(j *engine.Job, _ *adapter.Spec) { j.Backend.InFlight = 3 })
}

func TestNoMorePollsASecondThanRate(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		for range 100 {
			et.submit()
		}
		et.advance(1500 * time.Millisecond)
		require.InDelta(t, 10, len(et.polls()), 2)
	}, func(j *engine.Job, _ *adapter.Spec) { j.Backend.Rate = 10 })
}

func TestStopWaitsForPollsAndLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		et := newTester(t)
		et.engine.Start()
		defer et.engine.Stop()
		et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Hang, legacytest.Always)
		et.advance(time.Second)
		et.engine.Stop()
		et.engine.Stop()
	})
}

func TestStopWithoutStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newTester(t).engine.Stop()
	})
}

func TestAReservationOfADeadProcessEndsAsUncertain(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Minute), 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = et.tryPost()
		}()
		synctest.Wait()
		et.restart() // the store has the reservation, and nobody who knows of it
		page, err := et.store.List(t.Context(), filterAll)
		require.NoError(t, err)
		require.Len(t, page.Intents, 1)
		require.Equal(t, intent.Failed, page.Intents[0].Status)
		require.Equal(t, intent.CodeSubmitUncertain, page.Intents[0].Error.Code)
		et.wantEvents(page.Intents[0].ID, "created submitted failed")
		<-done
	}, func(j *engine.Job, _ *adapter.Spec) { j.Respond = engine.RespondIntent })
}

func TestABacklogThatNobodyWatchesDelaysNoObserver(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		for range 1000 { // at 10 polls a second, a backlog of more than a minute
			et.submit()
		}
		et.advance(10 * time.Second)
		id, job := et.submit()
		et.backend.Finishes(job)
		et.watch(id, time.Minute)
		et.advance(time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, func(j *engine.Job, _ *adapter.Spec) { j.Backend.Rate = 10 })
}

func TestAWatcherOvertakesTheBacklogThatItsIntentWaitsIn(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		for range 1000 {
			et.submit()
		}
		et.advance(time.Second) // they are all in the lane
		id, job := et.submit()
		et.backend.Finishes(job)
		et.advance(10 * time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status, "it waits behind the others")
		et.watch(id, time.Minute)
		et.advance(time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, func(j *engine.Job, _ *adapter.Spec) { j.Backend.Rate = 10 })
}

func TestDeadlinesAreKeptInABacklog(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		var last intent.ID
		for range 1000 {
			last, _ = et.submit()
		}
		et.advance(21 * time.Second)
		require.Equal(t, intent.TimedOut, et.get(last).Status)
	}, func(j *engine.Job, _ *adapter.Spec) {
		j.Backend.Rate = 10
		j.Deadline = 20 * time.Second
	})
}

func TestAReloadThatRemovesAJobStopsNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		// Two polls of the job that goes away: one under way, one behind it in the lane.
		et.backend.Meets(legacytest.Polls, legacytest.Late(6*time.Second), 1)
		_, first := et.submit()
		et.submit()
		et.backend.Finishes(first)
		et.advance(time.Second)
		other := *et.job
		other.Name = "other"
		et.use(&other)
		et.advance(10 * time.Second)
		et.job = &other
		id, job := et.submit()
		et.backend.Finishes(job)
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, func(j *engine.Job, _ *adapter.Spec) { j.Backend.InFlight = 1 })
}

func TestAnUncertainSubmitEndsOnceTheStoreTakesIt(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Hour), 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = et.tryPost()
		}()
		synctest.Wait()
		et.restart(errDisk)
		et.advance(time.Minute)
		page, err := et.store.List(t.Context(), filterAll)
		require.NoError(t, err)
		require.Empty(t, page.Intents)
		et.store.fails(nil)
		et.advance(time.Minute)
		page, err = et.store.List(t.Context(), filterAll)
		require.NoError(t, err)
		require.Len(t, page.Intents, 1)
		require.Equal(t, intent.CodeSubmitUncertain, page.Intents[0].Error.Code)
		<-done
	}, func(j *engine.Job, _ *adapter.Spec) { j.Respond = engine.RespondIntent })
}

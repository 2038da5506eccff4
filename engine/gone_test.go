package engine_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

func TestAJobThatIsNotVisibleYetIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.backend.Meets(legacytest.Polls, legacytest.Code(404, ""), legacytest.Always)
		et.advance(50 * time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		require.GreaterOrEqual(t, len(et.pollsAt(job)), 24, "a watcher learns at the plain interval that it is there")
		et.backend.Recovers()
		et.backend.Finishes(job)
		et.advance(3 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAJobThatIsUnknownForItsGraceIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(30 * time.Second)
		et.backend.Forgets(job)
		et.advance(59 * time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.advance(5 * time.Second)
		et.wantLost(id, "404")
	})
}

func TestTheGraceBeginsAnewWhenTheJobIsSeen(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.watch(id, time.Hour)
		for range 5 {
			et.backend.Meets(legacytest.Polls, legacytest.Code(404, ""), 20)
			et.advance(50 * time.Second)
		}
		require.Equal(t, intent.InProgress, et.get(id).Status)
		require.Zero(t, et.get(id).Missing)
	})
}

func TestTheGraceStandsWhileTheBackendIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.watch(id, 24*time.Hour)
		et.backend.Meets(legacytest.Polls, legacytest.Code(404, ""), legacytest.Always)
		et.advance(40 * time.Second)
		et.backend.Meets(legacytest.Polls, legacytest.Code(503, ""), legacytest.Always)
		et.advance(time.Hour)
		et.backend.Meets(legacytest.Polls, legacytest.Code(404, ""), legacytest.Always)
		et.advance(10 * time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status)
	})
}

func Test410IsBelievedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Code(410, ""), 1)
		et.advance(time.Second)
		require.Equal(t, intent.CodeJobLost, et.get(id).Error.Code)
	})
}

func TestARuleCanSayThatTheJobIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Code(500, ""), 1)
		et.advance(time.Second)
		require.Equal(t, intent.CodeJobLost, et.get(id).Error.Code)
	}, func(_ *engine.Job, s *adapter.Spec) {
		s.State = &adapter.State{Expr: "auto", Rules: []adapter.Rule{{Status: "gone", When: "code == 500"}}}
	})
}

func TestRetryLeavesTheGiveUpClockAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "busy", 0)
		et.advance(2 * time.Hour)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.backend.Finishes(job)
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, func(_ *engine.Job, s *adapter.Spec) {
		s.State = &adapter.State{Expr: "auto", Rules: []adapter.Rule{{Status: "retry", When: "body.status == 'busy'"}}}
	})
}

func TestAJobThatFellBackToPendingIsLostAfterTheGrace(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.backend.Says(job, "pending", 0)
		et.advance(5 * time.Minute)
		require.Equal(t, intent.InProgress, et.get(id).Status, "it may wait for as long as it likes")
		et.backend.Says(job, "running", 10)
		et.advance(5 * time.Second)
		et.backend.Says(job, "pending", 0)
		et.advance(50 * time.Second)
		et.restart()
		et.watch(id, time.Hour)
		et.advance(5 * time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.advance(30 * time.Second)
		et.wantLost(id, "pending")
	})
}

func TestAJobThatIsPutBackForAMomentGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		for range 10 {
			et.backend.Says(job, "running", 10)
			et.advance(20 * time.Second)
			et.backend.Says(job, "pending", 0)
			et.advance(40 * time.Second)
		}
		et.backend.Finishes(job)
		et.advance(3 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

// seesCancel is what the handler does when a client cancels at the backend itself.
func (et *tester) seesCancel(id intent.ID) {
	et.t.Helper()
	in := et.get(id)
	et.engine.NoteCancel(et.t.Context(), in.Scope, in.StatusURL)
}

func TestAJobThatIsGoneAfterAClientsCancelIsCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(10 * time.Minute)
		et.backend.Forgets(job)
		before := len(et.pollsAt(job))
		et.seesCancel(id)
		et.advance(2100 * time.Millisecond)
		require.Greater(t, len(et.pollsAt(job)), before, "the next poll is pulled forward")
		et.restart()
		et.advance(5 * time.Minute)
		in := et.get(id)
		require.Equal(t, intent.Canceled, in.Status)
		require.Equal(t, intent.ByClient, in.Error.Category)
	})
}

func TestACanceledJobThatEndsAsFailedIsCanceledWithTheReason(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(time.Second)
		et.seesCancel(id)
		et.restart()
		et.backend.Fails(job, "killed by user")
		et.advance(5 * time.Second)
		in := et.get(id)
		require.Equal(t, intent.Canceled, in.Status)
		require.Equal(t, "killed by user", in.Error.Message)
	})
}

func TestACanceledJobThatCompletesAllTheSameIsCompleted(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.seesCancel(id)
		et.backend.Finishes(job)
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestACancelDuringAPollCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Hang, 1)
		et.advance(time.Second) // the poll of 0.5 s hangs
		et.seesCancel(id)
		et.backend.Fails(job, "killed by user")
		et.advance(15 * time.Second)
		require.Equal(t, intent.Canceled, et.get(id).Status)
	})
}

func TestACancelThatTheStoreDoesNotTakeIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(time.Second)
		et.store.fails(errDisk)
		et.seesCancel(id)
		et.store.fails(nil)
		et.backend.Fails(job, "killed by user")
		et.advance(10 * time.Second)
		require.Equal(t, intent.Canceled, et.get(id).Status)
	})
}

func TestACancelOfAJobThatNobodyKnowsIsNobodysBusiness(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.engine.NoteCancel(t.Context(), "default", "/reports/status/job-99")
		id, job := et.submit()
		et.backend.Finishes(job)
		et.advance(time.Second)
		et.seesCancel(id)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAJobThatIsGoneAfterACancelOfOursThatWasRefusedIsCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(time.Second)
		et.backend.Meets(legacytest.Cancels, legacytest.Code(503, ""), 1)
		_, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.ErrorIs(t, err, engine.ErrNotCanceled)
		et.backend.Forgets(job)
		et.advance(5 * time.Minute)
		require.Equal(t, intent.Canceled, et.get(id).Status)
	})
}

func TestTheGraceGoesOnAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.backend.Forgets(job)
		et.advance(50 * time.Second)
		et.restart()
		et.watch(id, time.Hour)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.advance(20 * time.Second)
		et.wantLost(id, "404")
	})
}

func TestAFailureAfterACancelThatWasRefusedIsAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Meets(legacytest.Cancels, legacytest.Code(403, ""), 1)
		_, err := et.cancel(id)
		require.ErrorIs(t, err, engine.ErrNotCanceled)
		et.backend.Fails(job, "disk full")
		et.advance(time.Minute)
		require.Equal(t, intent.Failed, et.get(id).Status)
	})
}

func TestAClientsCancelIsFollowedByAPollSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(10 * time.Minute) // nobody watches: polls are half a minute apart
		et.backend.Says(job, "cancelled", 0)
		et.seesCancel(id)
		et.advance(2 * time.Second)
		require.Equal(t, intent.Canceled, et.get(id).Status)
	})
}

func TestACancelBesideADeadBackendIsNotAskedForAgainAndAgain(t *testing.T) {
	polls := func(canceled bool) (n int) {
		inBubble(t, func(t *testing.T, et *tester) {
			id, job := et.submit()
			et.advance(time.Second)
			et.backend.Meets(legacytest.Polls, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
				legacytest.Late(8*time.Second)(w, r, func(w http.ResponseWriter, r *http.Request) { legacytest.Reset(w, r, well) })
			}, legacytest.Always)
			et.advance(4 * time.Second) // a poll is under way
			if canceled {
				et.seesCancel(id)
			}
			et.advance(time.Hour)
			n = len(et.pollsAt(job))
		})
		return n
	}
	require.InDelta(t, polls(false), polls(true), 5)
}

package engine_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

// pollNow waits for the poll at most so long.
func (et *tester) pollNow(id intent.ID, patience time.Duration) error {
	et.t.Helper()
	ctx, cancel := context.WithTimeout(et.t.Context(), patience)
	defer cancel()
	defer synctest.Wait()
	return et.engine.PollNow(ctx, id)
}

func TestAPollOfAnOperatorComesAtOnceAndTheUsualOnesGoOnAfterIt(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(20 * time.Minute)
		before := len(et.pollsAt(job))
		now := time.Since(bubbleStart)
		require.NoError(t, et.pollNow(id, time.Second))
		polls := et.pollsAt(job)
		require.Len(t, polls, before+1)
		require.Equal(t, now, polls[before])
		require.GreaterOrEqual(t, et.inspect(id).Next.Sub(bubbleStart), now+30*time.Second)

		require.ErrorIs(t, et.pollNow(id, 500*time.Millisecond), engine.ErrNotYet, "who presses again is not heard at once")
		require.NoError(t, et.pollNow(id, 501*time.Millisecond))
		require.Equal(t, now+time.Second, et.pollsAt(job)[before+1])
	})
}

func TestAPollOfAnOperatorWaitsForWhatTheBackendAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Code(503, "60"), 1)
		et.advance(time.Second)
		before := len(et.pollsAt(job))
		require.ErrorIs(t, et.pollNow(id, 10*time.Second), engine.ErrNotYet)
		require.Len(t, et.pollsAt(job), before)
		require.NoError(t, et.pollNow(id, time.Minute))
		require.Len(t, et.pollsAt(job), before+1)
	})
}

func TestAPollOfAnOperatorProbesABackendThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		ids, _ := et.holds(20)
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		et.advance(10 * time.Minute)
		state := et.engine.Backends()[0].Jobs[0]
		require.Equal(t, engine.BreakerOpen, state.Breaker)
		require.Equal(t, len(ids), state.Active[intent.InProgress]+state.Active[intent.Delivered])
		require.NotZero(t, state.DownSince)
		require.Positive(t, state.Waiting)
		require.LessOrEqual(t, state.Waiting, len(ids))
		et.backend.Recovers()
		require.NoError(t, et.pollNow(ids[7], 10*time.Second))
		et.advance(time.Minute)
		require.Equal(t, engine.BreakerClosed, et.engine.Backends()[0].Jobs[0].Breaker)
	})
}

func TestAPollOfAnOperatorAsksAboutOneIntentAlone(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, jobs := et.submitMany(3)
		for _, job := range jobs {
			b.Says(job, "running", 10)
		}
		et.advance(time.Minute)
		require.True(t, et.inspect(ids[1]).Last.Shared)
		require.Equal(t, http.StatusOK, et.inspect(ids[1]).Last.Code)
		require.NoError(t, et.pollNow(ids[1], time.Second))
		last := et.inspect(ids[1]).Last
		require.False(t, last.Shared)
		require.Contains(t, last.Body, `"running"`)
	})
}

func TestAPollOfAnOperatorIsRefusedWithTheReason(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.use()
		require.ErrorIs(t, et.pollNow(id, time.Second), engine.ErrNoJob)
		et.reload()
		et.backend.Finishes(job)
		et.advance(time.Minute)
		require.ErrorIs(t, et.pollNow(id, time.Second), store.ErrEnded)
		require.ErrorIs(t, et.pollNow(intent.NewID(time.Now(), 0), time.Second), store.ErrNotFound)
	})
}

func TestAnOperatorEndsAnIntentAndTheBackendIsNotAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		in, err := et.engine.End(t.Context(), id, engine.Ending{Reason: "stuck since Monday", Category: intent.ByGateway, Status: intent.Failed})
		require.NoError(t, err)
		require.Equal(t, intent.Failed, in.Status)
		events := et.events(id)
		last := events[len(events)-1]
		require.Equal(t, &intent.Error{Code: "ended_by_operator", Message: "stuck since Monday", Category: intent.ByGateway}, last.Details.Error)
		require.Empty(t, et.backend.AskedFor("DELETE", "/reports/status/"+job))
		polls := len(et.pollsAt(job))
		et.advance(time.Hour)
		require.Len(t, et.pollsAt(job), polls)
		_, err = et.engine.End(t.Context(), id, engine.Ending{})
		require.ErrorIs(t, err, engine.ErrOver)
	})
}

func TestAnEndThatTheStoreDoesNotTakeChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.store.fails(errDisk)
		_, err := et.engine.End(t.Context(), id, engine.Ending{})
		require.ErrorIs(t, err, store.ErrUnavailable)
		et.store.fails(nil)
		et.backend.Finishes(job)
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAnIntentOfNoJobCanBeEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.use()
		et.advance(time.Minute)
		require.Equal(t, engine.Parked, et.inspect(id).Doing)
		in, err := et.engine.End(t.Context(), id, engine.Ending{})
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
	})
}

func TestASubmitThatWaitsIsTriedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Code(503, ""), 3)
		w := et.post()
		id, err := intent.ParseID(w.Header().Get("Intent-Id"))
		require.NoError(t, err)
		require.Equal(t, engine.Sending, et.inspect(id).Doing)
		require.Equal(t, 1, et.engine.Backends()[0].Jobs[0].Undelivered)
		tries := len(et.backend.AskedFor("POST", "/reports/generate"))
		require.NoError(t, et.pollNow(id, 2*time.Second))
		require.Len(t, et.backend.AskedFor("POST", "/reports/generate"), tries+1)
	}, func(j *engine.Job, _ *adapter.Spec) { j.Queue = &engine.DefaultQueue })
}

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

func (et *tester) inspect(id intent.ID) engine.Inspection {
	et.t.Helper()
	in := et.get(id)
	return et.engine.Inspect(&in)
}

func mapped(_ *engine.Job, s *adapter.Spec) {
	s.State = &adapter.State{Expr: "body.status", Words: map[string][]string{"completed": {"done"}, "in_progress": {"running", "pending"}}}
}

func TestAnInspectionTellsTheLastAnswerAndWhatDecided(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		require.Nil(t, et.inspect(id).Last)
		et.backend.Says(job, "archived", 40)
		et.advance(time.Minute)
		i := et.inspect(id)
		polls := et.pollsAt(job)
		require.True(t, i.Held)
		require.Equal(t, engine.Idle, i.Doing)
		require.Equal(t, "body.status", i.StateExpr)
		require.Equal(t, http.StatusOK, i.Last.Code)
		require.Equal(t, "readable", i.Last.Outcome)
		require.Equal(t, polls[len(polls)-1], i.Last.At.Sub(bubbleStart))
		require.Contains(t, i.Last.Body, `"status":"archived"`)
		require.Contains(t, i.Last.Reasons, adapter.Reason{Line: "state body.status", Value: `"archived"`})
		require.Equal(t, "archived", et.get(id).UnknownState)
		require.Zero(t, i.Watched)
		et.watch(id, time.Minute)
		require.NotZero(t, et.inspect(id).Watched)
	}, mapped)
}

func TestAnInspectionTellsWhyThereWasNoReading(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		et.advance(time.Second)
		last := et.inspect(id).Last
		require.Zero(t, last.Code)
		require.Empty(t, last.Outcome)
		require.Contains(t, last.Err, "reset")
		et.backend.Meets(legacytest.Polls, legacytest.Code(418, ""), legacytest.Always)
		et.advance(5 * time.Second)
		last = et.inspect(id).Last
		require.Equal(t, 418, last.Code)
		require.Equal(t, "unreadable", last.Outcome)
		require.Equal(t, "418", last.Reason)
	})
}

func TestAnAnswerThatNothingChangedKeepsTheOneBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "running", 40)
		et.backend.Meets(legacytest.Polls, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			w.Header().Set("Etag", `"1"`)
			if r.Header.Get("If-None-Match") == `"1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			well(w, r)
		}, legacytest.Always)
		et.advance(time.Minute)
		last := et.inspect(id).Last
		require.Equal(t, http.StatusOK, last.Code)
		require.Contains(t, last.Body, "running")
		require.True(t, last.Confirmed.After(last.At))
	})
}

func TestAfterAReloadTheLastAnswerIsExplainedByTheNewConfig(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "archived", 40)
		et.advance(time.Minute)
		et.reload(mapped)
		require.Equal(t, "body.status", et.inspect(id).StateExpr)
		et.use()
		et.advance(time.Minute)
		i := et.inspect(id)
		require.False(t, i.Configured)
		require.Empty(t, i.Last.Reasons)
		require.Contains(t, i.Last.Body, "archived")
	})
}

package engine_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// readsRequest lets the submit's body decide when a job of no state has failed.
func readsRequest(_ *engine.Job, s *adapter.Spec) {
	s.State = &adapter.State{Expr: "auto", Rules: []adapter.Rule{{Status: "failed", When: `body.percent == 40 && request.kind == "annual"`}}}
}

func TestABodyThatWasKeptBeforeBodiesWereSealedIsDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		now := time.Now()
		in := intent.Intent{ID: intent.NewID(now, 0), Origin: intent.Origin{Scope: et.job.Scope, Job: et.job.Name,
			Created: now, Deadline: now.Add(time.Hour), Host: "example.com", Scheme: "https", Request: []byte(`{"kind":"old"}`), Captured: true}}
		in, events := in.Begin(now)
		head := rot{}.Seal(in.ID, "outgoing request", []byte(`{"method":"POST","target":"/reports/generate","header":{"Idempotency-Key":["k"]}}`))
		in.Outgoing = &intent.Outgoing{Head: base64.RawStdEncoding.EncodeToString(head), Until: now.Add(time.Hour)}
		_, err := et.store.Create(t.Context(), in, events)
		require.NoError(t, err)
		et.restart()
		et.advance(10 * time.Second)
		require.Equal(t, intent.InProgress, et.get(in.ID).Status)
		job, _ := et.backend.Job("job-1")
		require.Equal(t, `{"kind":"old"}`, job.Body)
	}, queued())
}

func TestExpressionsReadABodyThatIsKeptSealed(t *testing.T) {
	for name, more := range map[string][]func(*engine.Job, *adapter.Spec){"inline": nil, "queued": {queued()}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				id, _ := et.submit()
				et.advance(time.Second)
				require.NotContains(t, string(et.get(id).Request), "annual")
				et.backend.Says("job-1", "running", 40)
				et.restart()
				et.advance(10 * time.Second)
				require.Equal(t, intent.Failed, et.get(id).Status)
			}, append(more, readsRequest)...)
		})
	}
}

func TestABodyThatCannotBeOpenedAnyMoreIsAbsentToExpressions(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.sealer = otherSecret{}
		et.reload(readsRequest)
		et.backend.Says("job-1", "running", 40)
		et.advance(10 * time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		require.Len(t, et.log.with("cannot be opened with this secret"), 1)
		et.backend.Finishes("job-1")
		et.advance(10 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, readsRequest)
}

func TestABodyOfNothingIsDeliveredAsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Code(503, "1"), 1)
		w, err := et.postKey("k", "")
		require.NoError(t, err)
		et.advance(10 * time.Second)
		id, err := intent.ParseID(w.Header().Get("Intent-Id"))
		require.NoError(t, err)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		job, _ := et.backend.Job("job-1")
		require.Empty(t, job.Body)
	}, queued())
}

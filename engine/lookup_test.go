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

// looksUp says how the backend is asked for a job by its key.
func looksUp(_ *engine.Job, s *adapter.Spec) {
	s.Lookup = &adapter.Lookup{Endpoint: adapter.Endpoint{Target: "/reports/by-key?key={idempotency_key}"}, JobID: "body.jobs[0].job_id"}
}

// answersLookups makes the backend one that finds jobs by key: those that it has said.
func answersLookups(way *road, found func() string) func(*engine.Job, *adapter.Spec) {
	return func(j *engine.Job, _ *adapter.Spec) {
		inner := j.Backend.Transport
		way.Transport = sends(func(w http.ResponseWriter, r *http.Request) error {
			if r.URL.Path != "/reports/by-key" {
				return inner.Send(w, r)
			}
			w.Header().Set("Content-Type", "application/json")
			_, err := w.Write([]byte(found()))
			return err
		})
		j.Backend.Transport = way
	}
}

func TestALookupFindsTheJobWhoseAnswerWasLost(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.AnswerLost, 1)
		id := et.queue()
		et.advance(time.Minute)
		require.Equal(t, 1, et.posts())
		require.Equal(t, "job-1", et.get(id).JobID)
		et.wantEvents(id, "created submitted delivery_failed delivered in_progress")
	}, queued(onUncertain(engine.UncertainLooksUp)), looksUp, answersLookups(new(road), func() string { return `{"jobs":[{"job_id":"job-1"}]}` }))
}

func TestALookupThatFindsNothingSendsAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Reset, 1)
		id := et.queue()
		et.advance(time.Minute)
		require.Equal(t, 2, et.posts())
		require.Len(t, et.backend.Jobs(), 1)
		require.Equal(t, intent.InProgress, et.get(id).Status)
	}, queued(onUncertain(engine.UncertainLooksUp)), looksUp, answersLookups(new(road), func() string { return `{"jobs":[]}` }))
}

func TestALookupThatCannotTellSendsNothing(t *testing.T) {
	for _, answer := range []string{"", "<html>", `{"jobs":[{"job_id":`, `{"error":"maintenance"}`} {
		inBubble(t, func(t *testing.T, et *tester) {
			et.backend.Meets(legacytest.Submits, legacytest.AnswerLost, 1)
			id := et.queue()
			et.advance(time.Hour)
			if answer == `{"error":"maintenance"}` { // understood, and without the id
				require.Equal(t, 2, et.posts())
				return
			}
			require.Equal(t, 1, et.posts())
			require.Equal(t, intent.CodeSubmitUncertain, et.why(id).Code)
		}, queued(onUncertain(engine.UncertainLooksUp)), looksUp, answersLookups(new(road), func() string { return answer }))
	}
}

func TestLookupsThatDoNotTellGrowApartAndCount(t *testing.T) {
	asked := 0
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.AnswerLost, 1)
		id := et.queue()
		et.advance(14 * time.Minute)
		require.Less(t, asked, 40, "in 14 minutes, at up to 30 s")
		require.Greater(t, asked, 15)
		require.Equal(t, asked+1, et.get(id).Attempts)
		require.Equal(t, 1, et.posts())
	}, queued(onUncertain(engine.UncertainLooksUp)), looksUp, answersLookups(new(road), func() string { asked++; return "<html>" }))
}

package offload_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// ofAddress is a backend that tells users apart by their address and nothing else: a
// poll, which comes as from the submitter's, is answered as the submitter is.
func ofAddress(jobID string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := strings.Cut(r.RemoteAddr, ":")
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte(`{"job_id":"` + jobID + `","status":"pending"}`))
			return
		}
		_, _ = w.Write([]byte(`{"job_id":"` + jobID + `","status":"running","step":"secret of ` + user + `"}`))
	}
}

func TestUsersOfTwoAddressesMayHaveJobsByOneID(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.atTheDoor(ofAddress("1"))
		alice, bob := tt.client(), tt.client()
		alice.addr, bob.addr = "203.0.113.1:5", "203.0.113.2:5"
		_, job := alice.submit()
		for range 20 {
			require.Contains(t, alice.get(job).Body.String(), "secret of 203.0.113.1")
			require.Contains(t, bob.get(job).Body.String(), "secret of 203.0.113.2")
			tt.passes(700 * time.Millisecond)
		}
		l := bob.listens(job)
		tt.passes(4 * time.Second)
		require.NotContains(t, l.w.text(), "secret of 203.0.113.1")
		l.leave()
	})
}

func TestAnIDOf128BitsIsOneJobFromWhereverItIsAskedFor(t *testing.T) {
	const id = "0d5e6d3c-8a2b-4f7e-9c11-5b8f2e6a7d90"
	inBubble(t, func(tt *tester) {
		tt.backend.atTheDoor(ofAddress(id))
		alice, bob := tt.client(), tt.client()
		alice.addr, bob.addr = "203.0.113.1:5", "203.0.113.2:5"
		_, job := alice.submit()
		for range 5 {
			bob.get(job)
			tt.passes(time.Second)
		}
		require.Contains(t, bob.get(job).Body.String(), "of 203.0.113.1", "the answer to a poll will do")
	})
}

func TestAnEndThatOneClientWasToldIsTheEndForAll(t *testing.T) {
	inBubble(t, func(tt *tester) {
		maker, other := tt.client(), tt.client("Cookie", "x")
		job := maker.runs(40)
		other.get(job)
		tt.passes(time.Second)
		require.Contains(t, other.get(job).Body.String(), "running")
		tt.passes(100 * time.Millisecond)
		tt.backend.SaysAll(job, legacytest.Status{State: "done", URL: "/x"})
		require.Contains(t, maker.get(job).Body.String(), "done", "the first request goes through, and ends the intent")
		require.Contains(t, other.get(job).Body.String(), "done")
		require.Contains(t, maker.get(job).Body.String(), "done")
	})
}

func TestABackendThatSaysItVariesByCredentialsIsBelieved(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.adds(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Vary", "Accept, Cookie")
			w.Header().Set("X-User", r.Header.Get("Cookie"))
		})
		maker, other := tt.client(), tt.client("Cookie", "b")
		job := maker.polls(40)
		other.get(job)
		for range 10 {
			tt.passes(time.Second)
			require.Equal(t, "b", other.get(job).Header().Get("X-User"), "a poll carries no cookie")
		}
	})
}

func TestACancelByTheClientElsewhereVoidsWhatWasRead(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(40)
		tt.passes(time.Second)
		require.Contains(t, c.get(job).Body.String(), "running")
		tt.backend.Says(job, "cancelled", 0)
		tt.engine.NoteCancel(t.Context(), "default", "/reports/status/"+job)
		require.Contains(t, c.get(job).Body.String(), "cancelled")
	})
}

func TestAnotherClientsCancelIsNotThisJobs(t *testing.T) {
	inBubble(t, func(tt *tester) {
		alice, bob := tt.client("Cookie", "session=alice"), tt.client("Cookie", "session=bob")
		_, job := alice.submit()
		means := func(c *client) bool {
			return tt.server.Means(c.request(http.MethodDelete, "/reports/status/"+job), c.asker(), "/reports/status/"+job)
		}
		require.True(t, means(alice))
		require.False(t, means(bob), "it may have a job by the same id at the backend")
	})
}

package engine_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// trailing is an answer as a proxy gives one with trailers.
func trailing(code int, body string, trailers map[string]string) legacytest.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		for name := range trailers {
			w.Header().Add("Trailer", name)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
		for name, value := range trailers {
			w.Header().Set(name, value)
		}
	}
}

func TestTrailersAreNoHeaders(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, trailing(202, `{}`, map[string]string{"Location": "/reports/status/job-1", "Set-Cookie": "a=b"}), 1)
		resp := et.post().Result()
		require.Empty(t, resp.Header.Get("Intent-Id"), "a trailer names no job")
		require.Empty(t, resp.Header.Get("Location"))
		require.Empty(t, resp.Header.Get("Set-Cookie"))
		require.Equal(t, "/reports/status/job-1", resp.Trailer.Get("Location"), "what is no job passes as it is")

		et.backend.Meets(legacytest.Submits, trailing(202, `{"job_id":"job-1"}`, map[string]string{"Set-Cookie": "a=b"}), 1)
		resp = et.post().Result()
		require.NotEmpty(t, resp.Header.Get("Intent-Id"))
		require.Empty(t, resp.Header.Get("Set-Cookie"))
		require.Empty(t, resp.Header.Get("Trailer"), "its length is known now")

		id, job := et.submit()
		et.backend.Says(job, "running", 1)
		et.backend.Meets(legacytest.Polls, trailing(200, `{"status":"running"}`, map[string]string{"Retry-After": "300"}), legacytest.Always)
		et.watch(id, time.Minute)
		before := len(et.pollsAt(job))
		et.advance(time.Minute)
		require.Greater(t, len(et.pollsAt(job)), before+5)
		require.Equal(t, intent.InProgress, et.get(id).Status)
	})
}

package caddymodule_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// inQueue is the usual job with a queue of so many.
func inQueue(site, lines string) string {
	return strings.Replace(site, "poll 100ms", "queue 1m {\n"+lines+"\n}\npoll 100ms", 1)
}

// accepted is the intent in the answer to a queued submit.
func accepted(t *testing.T, resp *http.Response) string {
	t.Helper()
	body := text(t, resp)
	require.Equal(t, http.StatusAccepted, resp.StatusCode, body)
	var answer struct {
		Intent struct {
			ID     string        `json:"intent_id"`
			Status intent.Status `json:"status"`
		} `json:"intent"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	require.Equal(t, intent.Submitted, answer.Intent.Status)
	require.Equal(t, answer.Intent.ID, resp.Header.Get("Intent-Id"))
	require.Equal(t, "/v1/intents/"+answer.Intent.ID, resp.Header.Get("Location"))
	return answer.Intent.ID
}

func TestAQueuedSubmitReachesABackendThatWasBusy(t *testing.T) {
	s := newSite(t)
	s.serve(inQueue(report, ""))
	s.backend.Meets(legacytest.Submits, legacytest.Code(503, ""), 1)
	s.backend.EveryJobSays(legacytest.Status{State: "running", Percent: 40}, legacytest.Status{State: "done"})
	id := accepted(t, s.do("POST", "/reports/generate", `{"kind":"annual"}`))
	events := s.observe(id).until(intent.Completed)
	require.Equal(t, intent.TypeDeliveryFailed, events[2].Type)
	require.Equal(t, intent.TypeDelivered, events[3].Type)
	require.Equal(t, `{"kind":"annual"}`, s.backend.Jobs()[0].Body)
}

func TestAPollOfAQueuedSubmitIsToldAsTheDeliveryThatItIs(t *testing.T) {
	s := newSite(t)
	s.serve(inQueue(report, ""))
	s.backend.Meets(legacytest.Submits, legacytest.Code(503, ""), legacytest.Always)
	id := accepted(t, s.do("POST", "/reports/generate", `{}`))
	_, answer := s.admin("POST", id+"/poll", "")
	require.Equal(t, true, answer["delivery"])
}

func TestAQueuedSubmitCanBeStreamedOrWaitedFor(t *testing.T) {
	s := newSite(t)
	s.serve(inQueue(report, ""))
	s.backend.EveryJobSays(legacytest.Status{State: "done", URL: "/files/{id}"})
	stream := text(t, s.do("POST", "/reports/generate", `{}`, "Accept", "text/event-stream"))
	require.Contains(t, stream, "event: intent.completed")
	waited := s.do("POST", "/reports/generate", `{}`, "Prefer", "wait=20")
	require.Equal(t, http.StatusOK, waited.StatusCode)
	require.Equal(t, "wait=20", waited.Header.Get("Preference-Applied"))
	require.Contains(t, text(t, waited), `"url":"/files/job-2"`)
}

func TestAFullQueueRefusesAndSaysWhenToComeBack(t *testing.T) {
	s := newSite(t)
	s.serve(inQueue(report, "max 1"))
	s.backend.Meets(legacytest.Submits, legacytest.Code(503, "60"), legacytest.Always)
	accepted(t, s.do("POST", "/reports/generate", `{}`))
	resp := s.do("POST", "/reports/generate", `{}`)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "10", resp.Header.Get("Retry-After"))
	require.Contains(t, text(t, resp), "queue_full")
}

func TestABodyThatCannotBeKeptIsRefused(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(inQueue(report, ""), "intents TO {", "intents TO {\nlimits {\nbody 1KiB\n}", 1))
	resp := s.do("POST", "/reports/generate", strings.Repeat("x", 1025))
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	require.Contains(t, text(t, resp), "too_large")
	accepted(t, s.do("POST", "/reports/generate", strings.Repeat("x", 1024)))
}

func TestAClientThatAsksFirstIsToldThatItsBodyIsTooLong(t *testing.T) {
	s := newSite(t)
	s.serve(inQueue(report, ""))
	for _, target := range []string{"/reports/generate", "/v1/intents"} {
		conn, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 4194304\r\nExpect: 100-continue\r\n\r\n", target, s.addr)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, "an answer, and no wait for the body")
		require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode, target)
		require.NoError(t, conn.Close())
	}
}

func TestCancelAfterBoundsAnyIntent(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(report, "poll 100ms", "cancel DELETE /reports/status/{job_id}\npoll 100ms", 1))
	for _, bad := range []string{"0", "-1", "soon", "1.5.2s", "0s", strings.Repeat("9", 40)} {
		resp := s.do("POST", "/reports/generate", `{}`, "Cancel-After", bad)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, bad)
		require.Contains(t, text(t, resp), "Cancel-After must be")
	}
	twice, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.addr+"/reports/generate", strings.NewReader(`{}`))
	require.NoError(t, err)
	twice.Header["Cancel-After"] = []string{"1s", "2s"}
	refused, err := http.DefaultTransport.RoundTrip(twice)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, refused.StatusCode)
	require.NoError(t, refused.Body.Close())
	require.Zero(t, s.posts())
	resp := s.do("POST", "/reports/generate", `{}`, "Cancel-After", "1s")
	id := resp.Header.Get("Intent-Id")
	text(t, resp)
	events := s.observe(id).until(intent.TimedOut)
	require.Equal(t, "accepted", events[len(events)-1].Details.Backend)
	require.Equal(t, 1, s.backend.Jobs()[0].Cancels)
}

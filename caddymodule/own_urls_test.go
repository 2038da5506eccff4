package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// slowReport is the usual job, polled every 500 ms.
var slowReport = strings.Replace(report, "poll 100ms", "poll 500ms", 1)

func TestOldPollingClientsCostOnePollEachInterval(t *testing.T) {
	s := newSite(t)
	s.serve(slowReport)
	_, job := s.submit()
	s.backend.Says(job, "running", 33)
	begun := time.Now()
	answers := 0
	for time.Since(begun) < 2*time.Second {
		resp := s.do("GET", "/reports/status/"+job, "", "Accept", "application/json")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
		require.JSONEq(t, `{"job_id":"job-1","status":"running","percent":33}`, text(t, resp))
		answers++
	}
	asked := len(s.backend.AskedFor("GET", "/reports/status/"+job))
	require.Greater(t, answers, 16)
	require.LessOrEqual(t, asked, 8, "%d answers", answers)

	s.backend.Finishes(job)
	require.Eventually(t, func() bool {
		return strings.Contains(text(t, s.do("GET", "/reports/status/"+job, "")), "done")
	}, patience, 20*time.Millisecond)
}

func TestAnEventSourceOnTheStatusURL(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	id, job := s.submit()
	s.backend.Says(job, "running", 10)
	resp := s.do("GET", "/reports/status/"+job, "", "Accept", "text/event-stream")
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	frames := sse.NewReader(resp.Body)
	frame, err := frames.Next()
	require.NoError(t, err)
	require.Contains(t, frame.Data, `"percent":10`)
	s.serve(report + "\n# a reload drops no stream")
	s.backend.Finishes(job)
	for !strings.Contains(frame.Data, "COMPLETED") {
		frame, err = frames.Next()
		require.NoError(t, err)
	}
	require.Contains(t, frame.Data, `"status":"done"`)
	require.Contains(t, frame.Data, `"intent":{"id":"`+id+`"`)
	_, err = frames.Next()
	require.ErrorIs(t, err, io.EOF)
	again := s.do("GET", "/reports/status/"+job, "", "Accept", "text/event-stream", "Last-Event-ID", frame.ID)
	require.Equal(t, http.StatusNoContent, again.StatusCode)
}

func TestAJobFromElsewhereIsFollowedFromItsStream(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	s.backend.Says("77", "running", 10)
	resp := s.do("GET", "/reports/status/77", "", "Accept", "text/event-stream")
	frames := sse.NewReader(resp.Body)
	frame, err := frames.Next()
	require.NoError(t, err)
	var first struct{ Intent struct{ ID string } }
	require.NoError(t, json.Unmarshal([]byte(frame.Data), &first))
	s.backend.Finishes("77")
	o := s.observe(first.Intent.ID)
	o.until(intent.Completed)
}

func TestOffloadAndAdoptCanBeSwitchedOff(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(slowReport, "job report {", "adopt off\njob report {\noffload off", 1))
	_, job := s.submit()
	s.backend.Says(job, "running", 1)
	before := s.backend.Polls(job)
	for range 50 {
		require.Equal(t, http.StatusOK, s.do("GET", "/reports/status/"+job, "").StatusCode)
	}
	require.GreaterOrEqual(t, s.backend.Polls(job)-before, 50)
	s.backend.Says("77", "running", 10)
	resp := s.do("GET", "/reports/status/77", "", "Accept", "text/event-stream")
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
}

func TestHostileStatusesMakeNoFrames(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	_, job := s.submit()
	s.backend.SaysAll(job, legacytest.Status{State: "running", Step: "x\r\n\r\nevent: y\ndata: {}\n\n"})
	resp := s.do("GET", "/reports/status/"+job, "", "Accept", "text/event-stream")
	frame, err := sse.NewReader(resp.Body).Next()
	require.NoError(t, err)
	require.Equal(t, "message", frame.Event)
	require.Contains(t, frame.Data, `x\r\n\r\nevent: y\ndata: {}\n\n`)
}

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ask sends a request straight to the service.
func ask(t *testing.T, s *reportService, method, path, body string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("X-Client", "me")
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	var answer map[string]any
	if rec.Header().Get("Content-Type") == "application/json" {
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &answer))
	}
	return rec.Code, answer
}

func TestAReportProgressesWithTime(t *testing.T) {
	s := newReportService(10 * time.Second)
	code, answer := ask(t, s, "POST", "/reports/generate", "")
	require.Equal(t, http.StatusAccepted, code)
	require.Equal(t, map[string]any{"job_id": "1001", "status": "pending"}, answer)

	rep := s.reports["1001"]
	after := func(d time.Duration) map[string]any { return s.progress(rep, rep.ordered.Add(d)) }
	require.Equal(t, map[string]any{"job_id": "1001", "status": "pending"}, after(0))
	require.Equal(t, map[string]any{"job_id": "1001", "status": "running", "percent": 60, "step": "drawing charts"}, after(6*time.Second))
	require.Equal(t, "running", after(10*time.Second - 1)["status"])
	require.Equal(t, map[string]any{"job_id": "1001", "status": "done", "url": "/reports/files/1001.csv"}, after(10*time.Second))
}

func TestSomeReportsAreSlowAndSomeFail(t *testing.T) {
	s := newReportService(10 * time.Second)
	yearly, forecast := s.order(yearlyReport, "me"), s.order(forecastReport, "me")
	require.Equal(t, 50, s.progress(yearly, yearly.ordered.Add(20*time.Second))["percent"])
	failed := s.progress(forecast, forecast.ordered.Add(20*time.Second))
	require.Equal(t, "failed", failed["status"])
	require.Equal(t, map[string]any{"message": "no orders in the third quarter"}, failed["error"])
}

func TestAFileIsThereOnceItsReportIsDone(t *testing.T) {
	s := newReportService(10 * time.Second)
	rep := s.order(salesReport, "me")
	code, _ := ask(t, s, "GET", "/reports/files/1001.csv", "")
	require.Equal(t, http.StatusNotFound, code)
	rep.ordered = rep.ordered.Add(-10 * time.Second)
	code, _ = ask(t, s, "GET", "/reports/files/1001.csv", "")
	require.Equal(t, http.StatusOK, code)
	code, _ = ask(t, s, "GET", "/reports/files/1001", "")
	require.Equal(t, http.StatusNotFound, code)
}

func TestWhatCannotBeOrderedOrIsUnknown(t *testing.T) {
	s := newReportService(time.Second)
	for _, order := range []string{`{"report":"horoscope"}`, `{`, `[]`} {
		code, _ := ask(t, s, "POST", "/reports/generate", order)
		require.Equal(t, http.StatusBadRequest, code, order)
	}
	code, _ := ask(t, s, "GET", "/reports/status/1001", "")
	require.Equal(t, http.StatusNotFound, code)
}

func TestRequestsAreCountedForWhoOrdered(t *testing.T) {
	s := newReportService(time.Second)
	ask(t, s, "POST", "/reports/generate", "")
	ask(t, s, "GET", "/reports/status/1001", "")
	ask(t, s, "GET", "/reports/status/1001", "")
	_, stats := ask(t, s, "GET", "/stats", "")
	require.Equal(t, map[string]any{"me": map[string]any{"submits": 1.0, "polls": 2.0}}, stats)
	require.Equal(t, requests{1, 2}, s.counted("me"))
}

func TestThePageAsksNobodyElse(t *testing.T) {
	require.NotRegexp(t, `(src|href|url)\s*[=(]\s*["']?//`, string(page))
	require.NotRegexp(t, `https?://`, string(page))
}

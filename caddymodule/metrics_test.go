package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/observe"
)

// A scrape is our series as Prometheus would get them, by name and labels. What this
// process counts began before a test does: only what was added is the test's.
type scrape map[string]float64

const scraped = "metrics /metrics\n"

func (s *site) scrape() scrape {
	s.t.Helper()
	found := make(scrape)
	for line := range strings.Lines(text(s.t, s.do("GET", "/metrics", ""))) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(series, "caddy_intents_") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		require.NoError(s.t, err, line)
		found[series] = v
	}
	return found
}

// since is what was added to a series. The name stands for the usual job's.
func (m scrape) since(before scrape, series string) float64 {
	series = strings.Replace(series, "{", `{job="report",`, 1)
	return m.at(series) - before.at(series)
}

// at is the value of the series that has these labels, of those of the usual handler.
func (m scrape) at(series string) float64 {
	for s, v := range m {
		if hasLabels(s, series) && (!strings.Contains(s, "scope=") || strings.Contains(s, `scope="default"`)) {
			return v
		}
	}
	return 0
}

func hasLabels(a, b string) bool {
	name, labels, _ := strings.Cut(strings.TrimSuffix(a, "}"), "{")
	other, wanted, _ := strings.Cut(strings.TrimSuffix(b, "}"), "{")
	has := strings.Split(labels, ",")
	for w := range strings.SplitSeq(wanted, ",") {
		if w != "" && !slices.Contains(has, w) {
			return false
		}
	}
	return name == other
}

func (m scrape) series() []string { return slices.Sorted(maps.Keys(m)) }

// finished submits a job, has it finished and reads its stream to the end.
func (s *site) finished() (id string) {
	s.t.Helper()
	id, job := s.submit()
	s.backend.Finishes(job)
	o := s.observe(id)
	o.until(intent.Completed)
	o.ends()
	return id
}

func TestMetricsTellOfALifeAndSurviveReloads(t *testing.T) {
	s := newSite(t)
	s.serve(scraped + report)
	before := s.scrape()
	require.EqualValues(t, 1, before.at("caddy_intents_store_up"))

	id, job := s.submit()
	o := s.observe(id)
	o.until(intent.InProgress)
	now := s.scrape()
	require.EqualValues(t, 1, now.at(`caddy_intents_active{job="report",status="IN_PROGRESS"}`))
	require.EqualValues(t, 1, now.at(`caddy_intents_breaker{job="report",state="closed"}`))
	require.EqualValues(t, 0, now.at(`caddy_intents_breaker{job="report",state="open"}`))
	require.EqualValues(t, 1, now.at("caddy_intents_observers"))
	require.Positive(t, now.at(`caddy_intents_oldest_unchanged_seconds{job="report"}`))

	s.serve(scraped + report + "\n# something is different\n") // a reload
	s.backend.Says(job, "running", 40)
	for p := o.next().Details.Progress; p == nil || *p != 40; p = o.next().Details.Progress {
	}
	s.backend.Finishes(job)
	o.until(intent.Completed)
	o.ends()
	var after scrape
	require.Eventually(t, func() bool { // what an observer is told first
		after = s.scrape()
		return after.since(before, `caddy_intents_polls_total{result="answered"}`) == float64(s.backend.Polls(job)) &&
			after.at(`caddy_intents_active{job="report",status="IN_PROGRESS"}`) == 0 && after.at("caddy_intents_observers") == 0
	}, 10*time.Second, 10*time.Millisecond, "everything comes to rest")
	require.EqualValues(t, 1, after.since(before, `caddy_intents_ended_total{status="COMPLETED",reason="backend"}`))
	require.EqualValues(t, 1, after.since(before, `caddy_intents_events_total{event="created"}`))
	require.EqualValues(t, 1, after.since(before, `caddy_intents_events_total{event="completed"}`))
	require.EqualValues(t, 1, after.at(`caddy_intents_streams_ended_total{reason="done"}`)-before.at(`caddy_intents_streams_ended_total{reason="done"}`))
	require.EqualValues(t, s.backend.Polls(job), after.since(before, "caddy_intents_poll_duration_seconds_count{}"))
	require.Positive(t, after.since(before, "caddy_intents_detection_delay_seconds_count{}"))
	require.EqualValues(t, 1, after.at(`caddy_intents_store_operations_total{operation="create",result="ok"}`)-
		before.at(`caddy_intents_store_operations_total{operation="create",result="ok"}`))
	require.GreaterOrEqual(t, after.at("caddy_intents_store_commit_seconds_count")-before.at("caddy_intents_store_commit_seconds_count"), 2.0)
}

func TestWhatAlertsAskForIsThereBeforeItHasHappened(t *testing.T) {
	s := newSite(t)
	s.serve(scraped + strings.Replace(report, "job report", "name quiet\njob report", 1))
	first := s.scrape().series()
	for _, end := range observe.Ends() {
		require.Contains(t, first, fmt.Sprintf(`caddy_intents_streams_ended_total{reason="%s",scope="quiet"}`, end))
	}
	for _, trouble := range []string{"unavailable", "full", "timeout", "error"} {
		require.Contains(t, first, fmt.Sprintf(`caddy_intents_store_operations_total{operation="append",result="%s"}`, trouble))
	}
	require.Contains(t, first, `caddy_intents_ended_total{job="report",reason="job_lost",scope="quiet",status="FAILED"}`)
}

func TestMetricsTellWhatTheBackendWasSpared(t *testing.T) {
	s := newSite(t)
	s.serve(scraped + strings.Replace(report, "poll 100ms", "poll 1h", 1))
	_, job := s.submit()
	status := "/reports/status/" + job
	text(t, s.do("GET", status, "")) // the backend is asked who may ask
	before := s.scrape()
	for range 5 {
		require.NotEmpty(t, s.do("GET", status, "").Header.Get("Age"))
	}
	require.EqualValues(t, 5, s.scrape().since(before, `caddy_intents_requests_saved_total{by="reading"}`))
}

func TestMetricsTellOfAnEndOfOurOwnAndOfAWebhook(t *testing.T) {
	s := newSite(t)
	url, got := receiver(t)
	s.serve(scraped + hooked(report, "webhook "+url+" {\nsecret "+hookSecret+"\nevents canceled\nallow_private\n}"))
	before := s.scrape()
	id, _ := s.submit()
	require.Equal(t, http.StatusOK, s.do("DELETE", "/v1/intents/"+id, "").StatusCode)
	next(t, got)
	require.Eventually(t, func() bool {
		return s.scrape().at(`caddy_intents_webhooks_total{outcome="taken"}`) == before.at(`caddy_intents_webhooks_total{outcome="taken"}`)+1
	}, 10*time.Second, 10*time.Millisecond)
	require.EqualValues(t, 1, s.scrape().since(before, `caddy_intents_ended_total{status="CANCELED",reason="canceled"}`), "told before the answer")
}

func TestSubmitsWithoutAStoreAreCounted(t *testing.T) {
	s := newSite(t)
	require.NoError(t, os.Mkdir(s.store, 0o700)) // where a file is to be
	s.serve(scraped + report)
	before := s.scrape()
	require.Zero(t, before.at("caddy_intents_store_up"))
	require.Equal(t, "unavailable", s.do("POST", "/reports/generate", `{}`).Header.Get("Intent-Status"))
	require.EqualValues(t, 1, s.scrape().since(before, "caddy_intents_submits_without_intent_total{}"))
}

// An inventive backend has a new word in every answer, and a new code for every
// failure.
type inventive struct {
	mu    sync.Mutex
	words int
	jobs  int
	asked map[string]int
}

const (
	inventedJobs  = 50
	wordsPerJob   = 20
	inventedWords = inventedJobs * wordsPerJob
)

func (b *inventive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		b.jobs++
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, `{"job_id":"job-%d"}`, b.jobs)
		return
	}
	if b.asked[r.URL.Path]++; b.asked[r.URL.Path] > wordsPerJob {
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "failed", "error": map[string]string{"code": "E" + r.URL.Path, "message": "no"}})
		return
	}
	b.words++
	_, _ = fmt.Fprintf(w, `{"status":"word %d","progress":%d}`, b.words, b.asked[r.URL.Path])
}

func TestAThousandUnknownWordsAndCodesMakeNoSeries(t *testing.T) {
	s := newSite(t)
	backend := &inventive{asked: make(map[string]int)}
	server := httptest.NewServer(backend)
	t.Cleanup(server.Close)
	s.to = server.Listener.Addr().String()
	s.serve(scraped + strings.Replace(report, "job report", "limits {\nrate 10000\nin_flight 100\n}\njob report", 1))
	zero := s.scrape()
	s.failed()
	var before scrape
	require.Eventually(t, func() bool {
		before = s.scrape()
		return before.since(zero, `caddy_intents_ended_total{status="FAILED",reason="backend"}`) == 1
	}, 10*time.Second, 10*time.Millisecond)
	var open []*observer
	for range inventedJobs {
		id, _ := s.submit()
		open = append(open, s.observe(id))
	}
	for _, o := range open {
		o.until(intent.Failed)
		o.ends()
	}
	var after scrape
	require.Eventually(t, func() bool {
		after = s.scrape()
		return after.since(before, `caddy_intents_ended_total{status="FAILED",reason="backend"}`) == inventedJobs &&
			after.since(before, "caddy_intents_unknown_states_total{}") == inventedWords
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, before.series(), after.series())
	for _, series := range after.series() {
		require.NotContains(t, series, "word")
		require.NotContains(t, series, "job-1")
	}
}

// failed submits a job and reads its stream until it has failed.
func (s *site) failed() {
	id, _ := s.submit()
	o := s.observe(id)
	o.until(intent.Failed)
	o.ends()
}

func TestABackendThatIsDownIsSeenAtTheBreaker(t *testing.T) {
	s := newSite(t)
	s.serve(scraped + report)
	before := s.scrape()
	for range 5 {
		id, _ := s.submit()
		s.observe(id)
	}
	s.backend.Meets(legacytest.Polls, legacytest.Code(502, ""), legacytest.Always)
	require.Eventually(t, func() bool {
		return s.scrape().at(`caddy_intents_breaker{job="report",state="open"}`) == 1
	}, 20*time.Second, 50*time.Millisecond)
	require.Positive(t, s.scrape().since(before, `caddy_intents_polls_total{result="unavailable"}`))
}

func TestAConfigThatIsOnlyLookedAtRegistersToo(t *testing.T) {
	s := newSite(t)
	s.serve(scraped + report)
	var looked caddy.Config
	require.NoError(t, json.Unmarshal(s.config(scraped+report), &looked))
	require.NoError(t, caddy.Validate(&looked))
	require.NotEmpty(t, s.scrape())
}

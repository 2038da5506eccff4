package caddymodule

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// A terse backend answers as fast as it can, and tells of every poll.
type terse struct{ polled chan struct{} }

func (b terse) Send(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusAccepted)
		_, err := w.Write([]byte(`{"job_id":"job-1","status":"pending"}`))
		return err
	}
	b.polled <- struct{}{}
	_, err := w.Write([]byte(`{"job_id":"job-1","status":"running"}`))
	return err
}

// benchEngine is an engine on a store in a file, counted for or not.
func benchEngine(b *testing.B, metered bool, pace engine.Pace) (*engine.Engine, *engine.Job, terse) {
	opened, err := boltstore.Open(filepath.Join(b.TempDir(), "intents.db"), boltstore.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	var s store.Store = opened
	if metered {
		s = meteredStore{s, counted, counted.stored}
	}
	e := engine.New(s)
	if metered {
		e.Measure(counted)
	}
	api, err := adapter.Compile(adapter.Spec{
		Submit: adapter.Route{Method: "POST", Path: "/reports/generate"},
		Status: &adapter.Endpoint{Target: "/reports/status/{job_id}"},
	}, adapter.Options{})
	require.NoError(b, err)
	backend := terse{make(chan struct{})}
	job := &engine.Job{
		JobName: engine.JobName{Scope: "bench", Name: "report"}, Adapter: api, Pace: pace, Deadline: time.Hour, Respond: engine.RespondMerge,
		Backend: &engine.Backend{Name: "bench", Transport: backend, InFlight: 1, Rate: 1e9},
	}
	e.Use(&engine.Generation{Jobs: map[engine.JobName]*engine.Job{job.JobName: job}, Retention: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	e.Start()
	b.Cleanup(func() {
		e.Stop()
		require.NoError(b, opened.Close())
	})
	return e, job, backend
}

func submitOne(b *testing.B, e *engine.Engine, job *engine.Job) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`))
	require.NoError(b, e.Submit(w, r, engine.Submission{Job: job, Base: "/v1/intents"}))
}

// takingTurns measures rounds with and without metrics in turn, so that whatever else
// the machine does befalls both, and reports the median of their ratios.
func takingTurns(b *testing.B, with, without func()) {
	var ratios []float64
	took := func(round func()) float64 {
		begun := time.Now()
		round()
		return float64(time.Since(begun))
	}
	for b.Loop() { // whoever comes second finds the caches warm
		first := took(with)
		bare := took(without) + took(without)
		ratios = append(ratios, (first+took(with))/bare)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "with/without")
}

// BenchmarkPollsWithMetrics has no network in it: what metrics add is more, as a part,
// than it is in Caddy.
func BenchmarkPollsWithMetrics(b *testing.B) {
	polls := func(metered bool) func() {
		pace := engine.DefaultPace
		pace.First, pace.Interval, pace.MaxInterval, pace.Jitter = 1, 1, 1, 0
		e, job, backend := benchEngine(b, metered, pace)
		submitOne(b, e, job)
		b.Cleanup(func() {
			go func() { // until the engine has stopped, which is next
				for range backend.polled {
				}
			}()
		})
		return func() {
			for range 100 {
				<-backend.polled
			}
		}
	}
	takingTurns(b, polls(true), polls(false))
}

// BenchmarkSubmitsWithMetrics is submits of 64 clients at once, each synced.
func BenchmarkSubmitsWithMetrics(b *testing.B) {
	submits := func(metered bool) func() {
		pace := engine.DefaultPace
		pace.First = time.Hour
		e, job, _ := benchEngine(b, metered, pace)
		return func() {
			var clients sync.WaitGroup
			for range 64 {
				clients.Go(func() { submitOne(b, e, job) })
			}
			clients.Wait()
		}
	}
	takingTurns(b, submits(true), submits(false))
}

// BenchmarkMetersOfAPoll is what metrics add to a poll that brings nothing new.
func BenchmarkMetersOfAPoll(b *testing.B) {
	s := meteredStore{metrics: counted}
	p := engine.Poll{Job: engine.JobName{Scope: "bench", Name: "report"}, Result: engine.PollAnswered, Took: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		s.count("get", nil)
		counted.Polled(p)
	}
}

// BenchmarkMetersOfASubmit is what they add to a submit.
func BenchmarkMetersOfASubmit(b *testing.B) {
	s := meteredStore{metrics: counted}
	in := &intent.Intent{Origin: intent.Origin{Scope: "bench", Job: "report"}}
	in, events := begun(in)
	b.ReportAllocs()
	for b.Loop() {
		s.commit("create", time.Now(), context.Cause(b.Context()))
		counted.stored(in, events)
	}
}

func begun(in *intent.Intent) (*intent.Intent, []intent.Event) {
	next, events := in.Begin(time.Now())
	return &next, events
}

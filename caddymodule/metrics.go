package caddymodule

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/offload"
	"github.com/caddy-intents/caddy-intents/webhook"
)

// metrics are what this process counts. There is one set of collectors for the life of
// the process, which every config registers in its own registry: one made for each
// config would begin at zero at every reload.
//
// A label is a name of the config, or a word of ours. Ids, paths and words of a backend
// are none: there is no end of them.
type metrics struct {
	ended      *prometheus.CounterVec
	events     *prometheus.CounterVec
	unkept     *prometheus.CounterVec
	polls      *prometheus.CounterVec
	took       *prometheus.HistogramVec
	delay      *prometheus.HistogramVec
	unknown    *prometheus.CounterVec
	saved      *prometheus.CounterVec
	streams    *prometheus.CounterVec
	operations *prometheus.CounterVec
	commit     prometheus.Histogram
	webhooks   *prometheus.CounterVec
	dropped    prometheus.Counter

	jobs sync.Map                      // *jobMetrics by engine.JobName
	done map[string]prometheus.Counter // of operations, those that came to what was wanted; looked up once
}

// counted is what this process counts.
var counted = newMetrics()

const metricNamespace, metricSubsystem = "caddy", "intents"

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricNamespace, Subsystem: metricSubsystem, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: metricNamespace, Subsystem: metricSubsystem, Name: name, Help: help, Buckets: buckets}
	}
	m := &metrics{
		ended:  counter("ended_total", "Intents that have ended, by how and why.", "scope", "job", "status", "reason"),
		events: counter("events_total", "Events that were stored.", "scope", "job", "event"),
		unkept: counter("submits_without_intent_total", "Submits that the store could not take: the client was served without an intent.", "scope", "job"),
		polls:  counter("polls_total", "Times that the backend was asked about an intent, by what came of it.", "scope", "job", "result"),
		took: prometheus.NewHistogramVec(histogram("poll_duration_seconds", "How long the backend took to answer a status request of ours.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}), []string{"scope", "job"}),
		delay: prometheus.NewHistogramVec(histogram("detection_delay_seconds", "From the start of the poll before until the event that a poll brought was stored.",
			[]float64{.1, .25, .5, 1, 2, 3, 5, 10, 20, 30, 60, 300}), []string{"scope", "job"}),
		unknown:    counter("unknown_states_total", "Poll answers with a state that the config does not map.", "scope", "job"),
		saved:      counter("requests_saved_total", "Status requests that the backend was spared.", "scope", "job", "by"),
		streams:    counter("streams_ended_total", "Streams that have ended, by why.", "scope", "reason"),
		operations: counter("store_operations_total", "Calls of the store, by what came of them.", "operation", "result"),
		commit: prometheus.NewHistogram(histogram("store_commit_seconds", "How long a change took until it was durable.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5})),
		webhooks: counter("webhooks_total", "Tries to deliver a webhook, by what came of them.", "outcome"),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Namespace: metricNamespace, Subsystem: metricSubsystem, Name: "caddy_events_dropped_total",
			Help: "Events that handlers of Caddy's events app were not told of, because they were too slow."}),
	}
	m.done = make(map[string]prometheus.Counter, len(operations))
	for _, o := range operations {
		m.done[o] = m.operations.WithLabelValues(o, "ok")
		for _, trouble := range troubles {
			m.operations.WithLabelValues(o, trouble)
		}
	}
	for _, o := range webhook.Outcomes() {
		m.webhooks.WithLabelValues(string(o))
	}
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.ended, m.events, m.unkept, m.polls, m.took, m.delay, m.unknown, m.saved, m.streams, m.operations, m.commit, m.webhooks, m.dropped,
	}
}

// register has a config's registry show them.
func (m *metrics) register(r *prometheus.Registry) error {
	for _, c := range m.collectors() {
		if err := registerOnce(r, c); err != nil {
			return err
		}
	}
	return nil
}

// registerOnce registers a collector that may be there already: a config can have been
// provisioned for others to look at.
func registerOnce(r *prometheus.Registry, c prometheus.Collector) error {
	err := r.Register(c)
	if _, there := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !there {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// jobMetrics are the series of one job, looked up once.
type jobMetrics struct {
	unkept  prometheus.Counter
	unknown prometheus.Counter
	took    prometheus.Observer
	delay   prometheus.Observer
	polls   map[engine.PollResult]prometheus.Counter
	saved   map[offload.Saving]prometheus.Counter
	events  map[intent.EventType]prometheus.Counter
}

// of returns the series of a job. They are there from then on, at zero: a rate needs a
// value to grow from.
func (m *metrics) of(n engine.JobName) *jobMetrics {
	if j, ok := m.jobs.Load(n); ok {
		return j.(*jobMetrics)
	}
	j := &jobMetrics{
		unkept: m.unkept.WithLabelValues(n.Scope, n.Name), unknown: m.unknown.WithLabelValues(n.Scope, n.Name),
		took: m.took.WithLabelValues(n.Scope, n.Name), delay: m.delay.WithLabelValues(n.Scope, n.Name),
		polls:  make(map[engine.PollResult]prometheus.Counter),
		saved:  make(map[offload.Saving]prometheus.Counter),
		events: make(map[intent.EventType]prometheus.Counter),
	}
	for _, r := range engine.PollResults() {
		j.polls[r] = m.polls.WithLabelValues(n.Scope, n.Name, string(r))
	}
	for _, by := range append(offload.Savings(), byBatch) {
		j.saved[by] = m.saved.WithLabelValues(n.Scope, n.Name, string(by))
	}
	for _, t := range intent.EventTypes() {
		j.events[t] = m.events.WithLabelValues(n.Scope, n.Name, eventWord(t))
	}
	for status, reasons := range usualEnds {
		for _, reason := range reasons {
			m.ended.WithLabelValues(n.Scope, n.Name, string(status), reason)
		}
	}
	for _, e := range observe.Ends() {
		m.streams.WithLabelValues(n.Scope, string(e))
	}
	stored, _ := m.jobs.LoadOrStore(n, j)
	return stored.(*jobMetrics)
}

// usualEnds are what an alert can ask for before it has happened.
var usualEnds = map[intent.Status][]string{
	intent.Completed: {string(intent.ByBackend)},
	intent.Failed: {string(intent.ByBackend), intent.CodeJobLost, intent.CodeUnreadable, intent.CodeSubmitUncertain,
		intent.CodeRefused, intent.CodeNoJob, intent.CodeUndelivered},
	intent.Canceled: {string(intent.ByBackend), intent.CodeCanceled},
	intent.TimedOut: {string(intent.ByBackend), intent.CodeDeadline},
}

// byBatch is the saving of a job that was asked about in the request of another.
const byBatch offload.Saving = "batch"

// Polled implements engine.Meter.
func (m *metrics) Polled(p engine.Poll) {
	j := m.of(p.Job)
	j.polls[p.Result].Inc()
	if p.Took > 0 {
		j.took.Observe(p.Took.Seconds())
	}
	if p.Delay > 0 {
		j.delay.Observe(p.Delay.Seconds())
	}
	if p.Unknown {
		j.unknown.Inc()
	}
	if p.Shared {
		j.saved[byBatch].Inc()
	}
}

// Ended implements engine.Meter.
func (m *metrics) Ended(in *intent.Intent) {
	m.ended.WithLabelValues(in.Scope, in.Job, string(in.Status), reasonOf(in)).Inc()
}

// Unkept implements engine.Meter.
func (m *metrics) Unkept(n engine.JobName) { m.of(n).unkept.Inc() }

// streamsOf returns what counts the streams of a handler that end.
func (m *metrics) streamsOf(scope string) func(observe.End) {
	return func(e observe.End) { m.streams.WithLabelValues(scope, string(e)).Inc() }
}

// savedOf returns what counts the requests that the backend of a handler was spared.
func (m *metrics) savedOf(scope string) func(job string, by offload.Saving) {
	return func(job string, by offload.Saving) { m.of(engine.JobName{Scope: scope, Name: job}).saved[by].Inc() }
}

// stored counts events that were.
func (m *metrics) stored(in *intent.Intent, events []intent.Event) {
	j := m.of(engine.JobName{Scope: in.Scope, Name: in.Job})
	for i := range events {
		j.events[events[i].Type].Inc()
	}
}

// delivered counts a try to deliver a webhook.
func (m *metrics) delivered(o webhook.Outcome) { m.webhooks.WithLabelValues(string(o)).Inc() }

// reasonOf is why an intent ended, as a label. Codes are the backend's to invent, too,
// and there is no end of those: whatever it said of a job is "backend".
func reasonOf(in *intent.Intent) string {
	e := in.Error
	if e == nil {
		return string(intent.ByBackend)
	}
	switch e.Code {
	case intent.CodeRefused, intent.CodeUndelivered:
		return e.Code
	case intent.CodeDeadline, intent.CodeJobLost, intent.CodeUnreadable, intent.CodeSubmitUncertain, intent.CodeNoJob, intent.CodeCanceled, intent.CodeOperator:
		if e.Category != intent.ByBackend {
			return e.Code
		}
	}
	return string(e.Category)
}

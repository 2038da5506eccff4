package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A census tells how things stand when they are asked for. It belongs to one config,
// and tells of the installation that the config uses.
type census struct{ installation *installation }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricNamespace, metricSubsystem, name), help, labels, nil)
}

var (
	activeGauge    = gauge("active", "Intents that have not ended and are held by this process.", "scope", "job", "status")
	unchangedGauge = gauge("oldest_unchanged_seconds", "How long the backend has said nothing new of the running intent with the oldest news.", "scope", "job")
	parkedGauge    = gauge("parked", "Intents that wait for their deadline, because no config has their job; of all that share the store.", "scope", "job")
	queueGauge     = gauge("queue_depth", "Submits that are stored and wait for the backend.", "scope", "job")
	breakerGauge   = gauge("breaker", "1 for the state that the job's breaker is in.", "scope", "job", "state")
	observersGauge = gauge("observers", "Open streams.")
	storeGauge     = gauge("store_up", "1 while the store is open.")
)

// Describe implements prometheus.Collector.
func (census) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{activeGauge, parkedGauge, unchangedGauge, queueGauge, breakerGauge, observersGauge, storeGauge} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c census) Collect(to chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	p := c.installation.parts.Load()
	if p == nil {
		set(storeGauge, 0)
		return
	}
	set(storeGauge, 1)
	set(observersGauge, float64(p.hub.Observers()))
	for _, j := range p.engine.Census() {
		for _, s := range intent.Statuses() {
			if !s.Terminal() && s != intent.Created { // nothing rests there
				set(activeGauge, float64(j.Active[s]), j.Scope, j.Name, string(s))
			}
		}
		set(parkedGauge, float64(j.Parked), j.Scope, j.Name)
		set(unchangedGauge, j.Unchanged.Seconds(), j.Scope, j.Name)
		set(queueGauge, float64(j.Undelivered), j.Scope, j.Name)
		for _, s := range engine.BreakerStates() {
			if j.Breaker != "" {
				set(breakerGauge, oneIf(s == j.Breaker), j.Scope, j.Name, string(s))
			}
		}
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

var (
	_ prometheus.Collector = census{}
)

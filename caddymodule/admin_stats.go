package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A storeStats is how it stands with one store and what works on it.
type storeStats struct {
	Store     string         `json:"store"`
	Observers int            `json:"observers"` // open streams
	Draining  bool           `json:"draining,omitempty"`
	Backends  []backendStats `json:"backends"`
	Parked    []jobStats     `json:"parked,omitempty"` // jobs that the config does not have and that have intents all the same
	Kept      *store.Stats   `json:"kept,omitempty"`   // what is stored; left out if the store does not count, or is away
}

// A backendStats is how a backend stands. Its jobs share its limits.
type backendStats struct {
	Backend  string     `json:"backend"`
	InFlight int        `json:"in_flight_limit"`
	Running  int        `json:"in_flight"`
	Jobs     []jobStats `json:"jobs"`
}

// A jobStats is how a job stands.
type jobStats struct {
	Scope       string                `json:"scope"`
	Job         string                `json:"job"`
	Active      map[intent.Status]int `json:"active"`                   // intents that this process holds, by status
	Parked      int                   `json:"parked,omitempty"`         // intents that wait for their deadline, since no config has the job; of all who share the store
	Unchanged   float64               `json:"oldest_unchanged_seconds"` // how long the backend has said nothing new of the one with the oldest news
	Breaker     engine.BreakerState   `json:"breaker,omitempty"`        // closed, open, releasing; none without a backend
	DownSince   time.Time             `json:"down_since,omitzero"`
	ProbeAt     time.Time             `json:"probe_at,omitzero"`
	InLine      int                   `json:"in_line"`     // polls that are due and wait for their turn
	Undelivered int                   `json:"undelivered"` // submits that are to be delivered
}

func backendsOf(e *engine.Engine) []backendStats {
	all := []backendStats{}
	for _, b := range e.Backends() {
		v := backendStats{Backend: b.Name, InFlight: b.InFlight, Running: b.Running}
		for _, j := range b.Jobs {
			s := newJobStats(&j.JobCensus)
			s.DownSince, s.ProbeAt, s.InLine = j.DownSince.UTC(), j.Probe.UTC(), j.Waiting
			v.Jobs = append(v.Jobs, s)
		}
		all = append(all, v)
	}
	return all
}

func newJobStats(c *engine.JobCensus) jobStats {
	return jobStats{
		Scope: c.Scope, Job: c.Name, Active: c.Active, Parked: c.Parked, Unchanged: c.Unchanged.Round(time.Millisecond).Seconds(), Breaker: c.Breaker, Undelivered: c.Undelivered,
	}
}

// parkedOf are the jobs that no config has and that have intents all the same: these
// wait for their deadline.
func parkedOf(e *engine.Engine) (all []jobStats) {
	for _, c := range e.Census() {
		if c.Breaker == "" {
			all = append(all, newJobStats(&c))
		}
	}
	return all
}

// stats is how it stands with the store, as far as that costs next to nothing.
func (s openStore) stats() storeStats {
	return storeStats{
		Store: s.address, Observers: s.hub.Observers(), Draining: s.hub.Draining(), Backends: backendsOf(s.engine), Parked: parkedOf(s.engine),
	}
}

// A counting store tells how much it keeps.
type counting interface {
	Stats(ctx context.Context) (store.Stats, error)
}

// serveStats answers how it stands with every store.
func serveStats(w http.ResponseWriter, r *http.Request) error {
	open, err := storesOf(r)
	if err != nil {
		return err
	}
	all := []storeStats{}
	for _, s := range open {
		v := s.stats()
		if c, ok := s.store.(counting); ok {
			kept, err := c.Stats(r.Context())
			switch {
			case err == nil:
				v.Kept = &kept
			case !errors.Is(err, store.ErrUnavailable): // then all else is worth knowing
				return err
			}
		}
		all = append(all, v)
	}
	return answerJSON(w, http.StatusOK, struct {
		OK     bool         `json:"ok"`
		Stores []storeStats `json:"stores"`
	}{true, all})
}

var errDrained = errors.New("an operator drains this process")

// serveDrain ends all streams and lets none begin, with POST, until DELETE: clients go
// where the load balancer leads them. Everything else goes on.
func serveDrain(w http.ResponseWriter, r *http.Request) error {
	open, err := storesOf(r)
	if err != nil {
		return err
	}
	answer := struct {
		OK       bool `json:"ok"`
		Draining bool `json:"draining"`
		Streams  int  `json:"streams"` // that are still open
	}{OK: true}
	for _, s := range open {
		switch r.Method {
		case http.MethodPost:
			s.hub.Drain(errDrained)
		case http.MethodDelete:
			s.hub.Reopen()
		}
		answer.Draining = answer.Draining || s.hub.Draining()
		answer.Streams += s.hub.Observers()
	}
	return answerJSON(w, http.StatusOK, answer)
}

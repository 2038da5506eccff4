package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
)

// Poll says how often a job's status is asked for.
type Poll struct {
	// From one poll to the next while somebody watches the intent. Default: 2s.
	Interval caddy.Duration `json:"interval,omitempty"`

	// From the answer to the submit to the first poll. Default: 500ms.
	First caddy.Duration `json:"first,omitempty"`

	// What the interval grows to while nobody watches, and while the backend does
	// not answer. Default: 30s.
	MaxInterval caddy.Duration `json:"max_interval,omitempty"`

	// The factor by which it grows, 1 to 10. Default: 1.5.
	Backoff float64 `json:"backoff,omitempty"`

	// Which part of the interval is added at random while nobody watches, as a
	// fraction from 0 to 1. Default: 0.2.
	Jitter *float64 `json:"jitter,omitempty"`

	// How long one poll may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long the backend's answers may be unreadable before the intent fails. Time
	// in which it does not answer at all is not counted. Default: 10m.
	GiveUp caddy.Duration `json:"give_up,omitempty"`

	// How long the backend may not know the job (404, or a fall back from a later
	// state to a waiting one) before the intent ends as lost, or as canceled if a
	// cancel was seen. 410 is believed at once. Default: 1m.
	Grace caddy.Duration `json:"grace,omitempty"`

	adapter.Poll
}

// pace fills in defaults and checks.
func (p *Poll) pace() (engine.Pace, error) {
	pace := engine.DefaultPace
	if p == nil {
		return pace, nil
	}
	for _, d := range []struct {
		name  string
		value caddy.Duration
		to    *time.Duration
		least time.Duration
	}{
		{"interval", p.Interval, &pace.Interval, 100 * time.Millisecond},
		{"first", p.First, &pace.First, time.Millisecond},
		{"max_interval", p.MaxInterval, &pace.MaxInterval, 100 * time.Millisecond},
		{"timeout", p.Timeout, &pace.Timeout, 100 * time.Millisecond},
		{"give_up", p.GiveUp, &pace.GiveUp, time.Second},
		{"grace", p.Grace, &pace.Grace, time.Millisecond},
	} {
		switch value := time.Duration(d.value); {
		case value == 0:
		case value < d.least:
			return pace, fmt.Errorf("poll %s: %s is too short; write at least %s", d.name, value, d.least)
		default:
			*d.to = value
		}
	}
	if p.MaxInterval == 0 {
		pace.MaxInterval = max(pace.MaxInterval, pace.Interval)
	}
	if pace.MaxInterval < pace.Interval {
		return pace, fmt.Errorf("poll max_interval: %s is less than the interval of %s", pace.MaxInterval, pace.Interval)
	}
	if p.Backoff != 0 {
		pace.Backoff = p.Backoff
	}
	if p.Jitter != nil {
		pace.Jitter = *p.Jitter
	}
	switch {
	case pace.Backoff < 1 || pace.Backoff > 10:
		return pace, fmt.Errorf("poll backoff: %v is out of range; write a factor from 1 to 10", pace.Backoff)
	case pace.Jitter < 0 || pace.Jitter > 1:
		return pace, fmt.Errorf("poll jitter: %v is out of range; write 0%% to 100%%", pace.Jitter)
	}
	return pace, nil
}

package caddymodule

import (
	"cmp"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/observe"
)

// Limits bound what is used.
type Limits struct {
	// How many polls are under way at the same time. Default: 64.
	InFlight int `json:"in_flight,omitempty"`

	// How many polls are started in a second. Default: 100.
	Rate float64 `json:"rate,omitempty"`

	// Up to which size the body of a submit is kept if it is queued, or if an
	// expression reads `request`, in bytes. A queued one that is longer is refused with
	// 413. Default: 1 MiB.
	Body int64 `json:"body,omitempty"`

	// How many streams are open at the same time, on this machine. Default: 20000.
	Observers int `json:"observers,omitempty"`

	// How many of them one owner may have. Default: a tenth.
	PerOwner int `json:"per_owner,omitempty"`

	// How many of them one intent may have. Default: all.
	PerIntent int `json:"per_intent,omitempty"`
}

// defaultBody is up to which size the body of a submit is kept, in bytes.
const defaultBody = 1 << 20

func (l *Limits) fillDefaults() {
	l.InFlight = cmp.Or(l.InFlight, engine.DefaultInFlight)
	l.Rate = cmp.Or(l.Rate, engine.DefaultRate)
	l.Body = cmp.Or(l.Body, defaultBody)
	l.Observers = cmp.Or(l.Observers, observe.DefaultObservers)
}

// negative reports whether one of them is.
func (l *Limits) negative() bool {
	return l.Rate < 0 || l.Body < 0 || min(l.InFlight, l.Observers, l.PerOwner, l.PerIntent) < 0
}

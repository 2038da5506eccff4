package engine

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/store"
)

// A Transport sends one request to a backend and writes the answer to w. It
// returns an error, and has written nothing, if no answer came; an answer that
// broke off after its head is an error too. It does not follow redirects, and it
// returns when the request's context ends.
type Transport interface {
	Send(w http.ResponseWriter, r *http.Request) error
}

// A JobName is the name of a job within its scope.
type JobName = store.JobName

// A Job is what one job of the config says, compiled.
type Job struct {
	JobName
	Adapter          *adapter.Job
	Backend          *Backend
	Pace             Pace
	Deadline         time.Duration
	CancelAtDeadline bool // cancel the job at the backend when the intent's deadline passes
	Respond          Respond
	CopyHeaders      []string // of the submit, that polls carry; kept encrypted
	MaxBody          int64    // of a submit that is captured because an expression reads it, or queued; bytes
	Teller           Teller   // nil: nobody is told of events but observers
	Queue            *Queue   // nil: a submit is sent while its client waits
	StateAdds        bool     // a state in its config has no expression: it adds to a preset's
}

// A Backend is a way to one job API and how much of it may be used. Lanes with
// the same Name share their limits, also across generations.
type Backend struct {
	Name      string
	Transport Transport
	InFlight  int     // polls at the same time
	Rate      float64 // polls a second
}

// DefaultInFlight and DefaultRate bound the polls of a backend that says nothing.
const (
	DefaultInFlight = 64
	DefaultRate     = 100
)

// A Generation is the settings of one config.
type Generation struct {
	Jobs      map[JobName]*Job
	Retention time.Duration // how long an ended intent is kept
	Sealer    Sealer        // needed if a job copies headers, or its submits are queued
	Logger    *slog.Logger
}

// DefaultRetention is how long ended intents are kept if nothing else is said.
const DefaultRetention = 24 * time.Hour

// Use applies the settings of g, for running intents too. The last applied
// generation counts; retire takes this one back, wherever it stands.
func (e *Engine) Use(g *Generation) (retire func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.generations = append(e.generations, g)
	e.settingsChanged()
	return func() { e.retire(g) }
}

func (e *Engine) retire(g *Generation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := len(e.generations) - 1; i >= 0; i-- {
		if e.generations[i] == g {
			e.generations = append(e.generations[:i:i], e.generations[i+1:]...)
			break
		}
	}
	e.settingsChanged()
}

// settingsChanged makes the last generation the current one and gives parked
// intents another look. The caller holds e.mu.
func (e *Engine) settingsChanged() {
	current := noSettings
	if n := len(e.generations); n > 0 {
		current = e.generations[n-1]
	}
	e.settings.Store(current)
	for h := range e.parked {
		delete(e.parked, h)
		e.place(h, e.now())
	}
	e.told.forget()
	clear(e.lessons)
	e.reroute(current)
	e.wakeLocked()
}

// noSettings is in force before the first and after the last generation: every
// intent is parked.
var noSettings = &Generation{Retention: DefaultRetention, Logger: slog.New(slog.DiscardHandler)}

package engine

import (
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Meter is told what the engine does, for whoever counts it. It is called by any
// number of goroutines, none of which holds a lock of the engine's, and returns soon.
type Meter interface {
	// Polled tells what a poll of one intent came to.
	Polled(p Poll)

	// Ended tells of an intent that has ended.
	Ended(in *intent.Intent)

	// Unkept tells of a submit that made a job and no intent: the store did not take it.
	Unkept(n JobName)
}

// A Poll is what came of asking about one intent.
type Poll struct {
	Job    JobName
	Result PollResult
	Shared bool // in a request that counts for another intent already

	// Took is how long the backend had the request. Where it is 0 there was none for
	// this intent alone.
	Took time.Duration

	// Delay is from the start of the poll before until an event that this one has
	// brought was stored: by so much at most observers learned later than the backend.
	// It is 0 if there was no event, or no poll before, or the poll waited at the backend.
	Delay time.Duration

	Unknown bool // the backend used a word that the config does not map
}

// A PollResult says what an answer was good for.
type PollResult string

const (
	PollAnswered    PollResult = "answered"
	PollUnreadable  PollResult = "unreadable"  // what the answer says of the job cannot be read
	PollUnavailable PollResult = "unavailable" // there was no answer, or 429, 5xx, 401 or 403
	PollMissing     PollResult = "missing"     // the backend does not know the job
)

// PollResults lists what a poll can come to.
func PollResults() []PollResult {
	return []PollResult{PollAnswered, PollUnreadable, PollUnavailable, PollMissing}
}

var resultOf = map[outcome]PollResult{
	answered: PollAnswered, unreadable: PollUnreadable, unavailable: PollUnavailable, missing: PollMissing,
}

// Measure has m told from now on. It is called before Start.
func (e *Engine) Measure(m Meter) { e.meter = m }

// measure tells what a step of h came to that is over and not settled yet: h still
// says when the poll before began. A try to deliver is no poll.
func (e *Engine) measure(h *held, s *step) {
	result, polled := resultOf[s.outcome]
	if !polled || h.manner == delivers {
		return
	}
	p := Poll{Job: *h.name, Result: result, Shared: s.shared, Took: s.took, Unknown: s.unknown}
	if s.news && s.outcome == answered && !s.waited && h.polled != never {
		p.Delay = e.now().sub(h.polled)
	}
	e.meter.Polled(p)
}

// unmetered is the Meter of an engine that nobody counts for.
type unmetered struct{}

func (unmetered) Polled(Poll)          {}
func (unmetered) Ended(*intent.Intent) {}
func (unmetered) Unkept(JobName)       {}

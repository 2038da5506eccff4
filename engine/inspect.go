package engine

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// An Inspection is what an engine knows of an intent besides what is stored.
type Inspection struct {
	Polled            // zero if it is not held
	Held    bool      // this engine works on it
	Epoch   int64     // of its lease
	Doing   Doing     // what is under way
	Watched time.Time // somebody follows it until then; zero for nobody

	Last   *LastPoll         // nil if nothing is remembered
	Params map[string]string // of the intent, without what looks like a secret

	// The line of the job's config that begins the block where a word has to stand for
	// it to be known: "" if the state is looked for by auto, or is a preset's, which an
	// expression would replace. Configured says whether the config has the job at all.
	StateExpr  string
	Configured bool
}

// Doing says what an engine does about an intent.
type Doing string

const (
	Idle    Doing = ""        // nothing until the next poll
	Storing Doing = "storing" // nothing until the store takes how it ended
	Asking  Doing = "asking"  // a poll, or another request about it, is under way
	InLine  Doing = "in_line" // a poll is due and waits for its turn
	Parked  Doing = "parked"  // its job is in no config: nothing until its deadline
	Sending Doing = "sending" // its submit is to be delivered
)

// A LastPoll is what the last poll of an intent brought, fit to be shown.
type LastPoll struct {
	At        time.Time        // when it began
	Confirmed time.Time        // when a later one was told that nothing has changed; zero if none was
	Code      int              // 0: there was no answer
	Outcome   string           // readable, unreadable, ...; "" without an answer
	Reason    string           // why it said nothing about the job
	Err       string           // why there was no answer
	Shared    bool             // it was about several intents, and its body is not remembered
	Body      string           // its beginning, without what looks like a secret
	More      bool             // Body is not all of it
	Reasons   []adapter.Reason // why it is read as it is, as the config is now; none if too much was cut off
}

// Inspect tells what is known of an intent.
func (e *Engine) Inspect(in *intent.Intent) Inspection {
	i := Inspection{Params: hideParams(in.Params)}
	i.Polled, i.Held = e.Polling(in.ID)
	job := e.Job(JobName{Scope: in.Scope, Name: in.Job})
	if job != nil {
		i.Configured = true
		if !job.StateAdds {
			i.StateExpr = job.Adapter.StateExpr(in)
		}
	}
	i.Last = e.shown(e.lastPolls.get(in.ID), in, job)
	e.mu.Lock()
	defer e.mu.Unlock()
	h, ok := e.holds[in.ID]
	if !ok {
		return i
	}
	i.Epoch, i.Doing = h.lease.Epoch, e.doing(h)
	if h.watched > e.now() {
		i.Watched = e.wall(h.watched)
	}
	return i
}

// doing is called by a caller that holds e.mu.
func (e *Engine) doing(h *held) Doing {
	_, parked := e.parked[h]
	switch {
	case parked:
		return Parked
	case h.undelivered:
		return Sending
	case h.ended:
		return Storing
	case h.busy:
		return Asking
	case h.waiting:
		return InLine
	}
	return Idle
}

// shown makes a poll fit to be shown, as the job is now.
func (e *Engine) shown(p *lastPoll, in *intent.Intent, job *Job) *LastPoll {
	if p == nil {
		return nil
	}
	s := &LastPoll{
		At: p.at, Confirmed: p.confirmed, Code: p.code, Outcome: p.outcome.String(), Reason: p.reason, Shared: p.shared,
	}
	s.Err, _ = excerpt([]byte(p.err))
	if p.answer == nil {
		return s
	}
	s.Body, s.More = excerpt(p.answer.Body)
	s.More = s.More || !p.whole
	if p.whole && job != nil {
		then := *e.opened(job, in)
		then.Memory = p.memory
		s.Reasons = hideReasons(job.Adapter.Reasons(&then, *p.answer))
	}
	return s
}

// A BackendState is how a backend stands.
type BackendState struct {
	Name     string // that its jobs share their limits by
	InFlight int    // requests of ours at the same time, at most
	Running  int    // requests of ours that have a place now
	Jobs     []JobState
}

// A JobState is how a job of a backend stands.
type JobState struct {
	JobCensus
	DownSince time.Time // zero unless its breaker is open
	Probe     time.Time // when it is asked next whether it is back; zero unless its breaker is open
	Waiting   int       // polls that are due and wait for their turn
}

// Backends tells how the backends of the current settings stand, in the order of their
// names. It looks at each poll that waits for its turn.
func (e *Engine) Backends() []BackendState {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := make(map[string]*BackendState)
	for _, job := range e.settings.Load().Jobs {
		b := found[job.Backend.Name]
		if b == nil {
			b = &BackendState{Name: job.Backend.Name, InFlight: job.Backend.InFlight}
			found[job.Backend.Name] = b
			if l := e.lanes[b.Name]; l != nil {
				b.Running = l.running
			}
		}
		b.Jobs = append(b.Jobs, e.jobState(job, e.lanes[b.Name]))
	}
	var all []BackendState
	for _, name := range slices.Sorted(maps.Keys(found)) {
		b := found[name]
		slices.SortFunc(b.Jobs, func(a, b JobState) int {
			return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Name, b.Name))
		})
		all = append(all, *b)
	}
	return all
}

// jobState is called by a caller that holds e.mu. The lane may be nil: nothing has been
// on it.
func (e *Engine) jobState(job *Job, l *lane) JobState {
	n := e.intern(job.JobName)
	s := JobState{JobCensus: e.censusOf(n, e.tallyOf(n), job)}
	if l == nil || l.circuits[n] == nil {
		return s
	}
	c := l.circuits[n]
	if c.state == open {
		s.DownSince, s.Probe = e.wall(c.down), e.wall(c.soonest(e.now()))
	}
	s.Waiting = c.waiting()
	return s
}

// waiting counts those who wait to be polled. Who waits in two queues counts once: it
// is ahead then.
func (c *circuit) waiting() int {
	n := 0
	for _, q := range []*queue{&c.watched, &c.others, &c.retries} {
		for _, h := range q.entries {
			if h != nil && h.waiting && (q == &c.watched) == h.ahead {
				n++
			}
		}
	}
	return n
}

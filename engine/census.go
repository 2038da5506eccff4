package engine

import (
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A JobCensus is how it stands with the intents of one job that this engine holds.
type JobCensus struct {
	JobName
	Active      map[intent.Status]int // how many have not ended
	Unchanged   time.Duration         // how long the backend has said nothing new of the one with the oldest news
	Undelivered int                   // submits that wait for the backend
	Parked      int                   // how many wait for their deadline, because no config has the job; of all who share the store
	Breaker     BreakerState          // "" if no config has the job any more
}

// A BreakerState says how a backend is asked about a job.
type BreakerState string

const (
	BreakerClosed    BreakerState = "closed"    // as configured
	BreakerOpen      BreakerState = "open"      // it is down: by one probe at a time
	BreakerReleasing BreakerState = "releasing" // it is back: by more and more
)

// BreakerStates lists all of them.
func BreakerStates() []BreakerState {
	return []BreakerState{BreakerClosed, BreakerOpen, BreakerReleasing}
}

var breakerStates = map[breakerState]BreakerState{closed: BreakerClosed, open: BreakerOpen, releasing: BreakerReleasing}

// Census counts what is held. It looks at no intent: its cost is that of the number of
// jobs.
func (e *Engine) Census() []JobCensus {
	e.mu.Lock()
	defer e.mu.Unlock()
	jobs := e.settings.Load().Jobs
	for n := range jobs {
		e.tallyOf(e.intern(n)) // one that nobody has submitted yet is to be seen, too
	}
	for n := range e.unheld {
		if jobs[n] == nil {
			e.tallyOf(e.intern(n))
		}
	}
	var all []JobCensus
	for n, t := range e.tallies {
		if job := jobs[*n]; job != nil || t.held()+e.unheld[*n] > 0 {
			all = append(all, e.censusOf(n, t, job))
		}
	}
	return all
}

func (e *Engine) censusOf(n *JobName, t *tally, job *Job) JobCensus {
	c := JobCensus{JobName: *n, Active: make(map[intent.Status]int), Undelivered: e.undelivered[*n]}
	for i, k := range t.active {
		c.Active[statuses[i]] = k
	}
	if oldest := t.unchanged.next(); oldest != never {
		c.Unchanged = max(e.now().sub(oldest), 0)
	}
	switch {
	case job == nil && e.ledger == nil:
		c.Parked = t.held()
	case job == nil:
		c.Parked = e.unheld[*n]
	default:
		c.Breaker = BreakerClosed
		if l := e.lanes[job.Backend.Name]; l != nil && l.circuits[n] != nil {
			c.Breaker = breakerStates[l.circuits[n].state]
		}
	}
	return c
}

// A tally counts the held intents of one job as they change, so that nobody has to
// look at a million of them to tell how many there are. The oldest is the first of a
// heap: a list in the order of changes would do but for a start, when intents come in
// any order. A change costs O(log n); a poll that brings nothing new costs nothing.
type tally struct {
	active    [statusesHeld]int // by status, as in statuses
	unchanged heap              // by when the backend said something new last
}

// statusesHeld is how many statuses, from the first on, a held intent can have.
const statusesHeld = 4

var statuses = intent.Statuses()

func (t *tally) held() (n int) {
	for _, k := range t.active {
		n += k
	}
	return n
}

// tallyOf returns the tally of a job. The caller holds e.mu.
func (e *Engine) tallyOf(n *JobName) *tally {
	t, ok := e.tallies[n]
	if !ok {
		t = &tally{unchanged: heap{of: inTally}}
		e.tallies[n] = t
	}
	return t
}

// count takes h, which is new, into the tally of its job. The caller holds e.mu.
func (e *Engine) count(h *held, in *intent.Intent) {
	t := e.tallyOf(h.name)
	h.status = min(uint8(max(slices.Index(statuses, in.Status), 0)), statusesHeld-1)
	t.active[h.status]++
	t.unchanged.set(h, e.at(lastNews(in)))
}

// discount takes h out again. The caller holds e.mu.
func (e *Engine) discount(h *held) {
	t := e.tallyOf(h.name)
	if h.places[inTally] < 0 {
		return
	}
	t.active[h.status]--
	t.unchanged.remove(h)
}

// recount notes that h stands as in says, which is stored.
func (e *Engine) recount(h *held, in *intent.Intent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.holds[in.ID] == h {
		e.discount(h)
		e.count(h, in)
	}
}

// lastNews is when the backend said something new of the job, or the job became one of
// ours.
func lastNews(in *intent.Intent) time.Time {
	if in.Moved.IsZero() {
		return in.Created
	}
	return in.Moved
}

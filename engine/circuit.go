package engine

import (
	"slices"
	"time"
)

// A circuit is the way to one job of a backend. Its breaker is the job's and not the
// backend's, because a job API can be sick in one place.
type circuit struct {
	breaker
	job     *JobName
	watched queue
	others  queue
	retries queue // those whose last poll failed
	submits queue // that are to be delivered
	sent    sent  // that are being delivered
}

// circuitOf returns the circuit of a job.
func (e *Engine) circuitOf(j *Job) (*lane, *circuit) {
	l := e.laneOf(j.Backend)
	return l, l.circuitOf(e.intern(j.JobName))
}

func (l *lane) circuitOf(n *JobName) *circuit {
	c, ok := l.circuits[n]
	if !ok {
		c = &circuit{job: n}
		l.circuits[n] = c
		l.order = append(l.order, c)
	}
	return c
}

// idle reports whether nobody waits.
func (c *circuit) idle() bool { return !c.polls() && c.submits.empty() }

// polls reports whether somebody waits to be polled.
func (c *circuit) polls() bool { return !c.watched.empty() || !c.others.empty() || !c.retries.empty() }

// excuse has the time in which the backend was down not count for give_up and grace,
// which count from one poll to the next.
func (c *circuit) excuse(all []*held) {
	for _, h := range all {
		if c.state == open || h.polled < c.released {
			h.last = notPolled
		}
	}
}

// change does something to a breaker, and what follows from it. The caller holds e.mu.
func (e *Engine) change(l *lane, c *circuit, do func(now moment)) {
	now, before := e.now(), c.state
	do(now)
	c.settle(c.window >= l.inFlight || c.idle())
	switch {
	case before == closed && c.state == open:
		e.log().Warn("the backend does not answer; polls wait, and one at a time asks whether it is back",
			"scope", c.job.Scope, "job", c.job.Name)
	case before != closed && c.state == closed:
		e.log().Info("the backend answers again", "scope", c.job.Scope, "job", c.job.Name, "after", now.sub(c.down).Round(time.Millisecond))
	}
}

// heard notes that the backend answered a client's own request for a status, which
// says as much as the answer to a poll.
func (e *Engine) heard(j *Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l, c := e.circuitOf(j)
	e.change(l, c, c.answered)
	e.pump(l)
}

// isDown reports whether polls of a job wait for its backend. The caller holds e.mu.
func (e *Engine) isDown(j *Job) bool {
	_, c := e.circuitOf(j)
	return c.state == open
}

// reached notes that the backend answered another request about a job: it may be back
// in other places, too.
func (e *Engine) reached(n JobName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	job := e.settings.Load().Jobs[n] // as it is now: the request may have been sent under older settings
	if job == nil {
		return
	}
	if l, c := e.circuitOf(job); c.state == open {
		c.hurry()
		e.pump(l)
	}
}

// reroute has those who wait find their way by new settings. Whose job has another
// backend now must not wait for the old one; the others ask soon, since whoever
// changed the settings may have repaired something. The caller holds e.mu.
func (e *Engine) reroute(g *Generation) {
	for name, l := range e.lanes {
		for n, c := range l.circuits {
			if job := g.Jobs[*n]; job != nil && job.Backend.Name == name {
				c.hurry()
				continue
			}
			delete(l.circuits, n)
			l.order = slices.DeleteFunc(l.order, func(o *circuit) bool { return o == c })
			for _, q := range []*queue{&c.watched, &c.others, &c.retries, &c.submits} {
				for h := q.pop(); h != nil; h = q.pop() {
					h.waiting, h.ahead = false, false
					e.place(h, min(e.now(), h.deadline))
				}
			}
		}
		e.pump(l)
	}
}

package engine

import (
	"time"

	"golang.org/x/time/rate"
)

// A lane is the way to one backend: how many polls are on it, who waits for a
// place, and how fast they may follow each other. It outlives generations, so that
// a reload does not double what a backend gets. Guarded by Engine.mu.
type lane struct {
	running int
	waiting []*held // in order of arrival; each of them is busy
	limit   *rate.Limiter
}

// laneOf returns the lane of a backend, with the limits it has now.
func (e *Engine) laneOf(b *Backend, now time.Time) *lane {
	l, ok := e.lanes[b.Name]
	if !ok {
		l = &lane{limit: rate.NewLimiter(rate.Limit(b.Rate), burst(b.Rate))}
		e.lanes[b.Name] = l
	}
	if l.limit.Limit() != rate.Limit(b.Rate) {
		l.limit.SetLimitAt(now, rate.Limit(b.Rate))
		l.limit.SetBurstAt(now, burst(b.Rate))
	}
	return l
}

// burst lets a tenth of a second's polls go at once: what comes due together need
// not be spread more finely than that.
func burst(r float64) int { return max(1, int(r/10)) }

// enter takes h onto the lane, or tells when to try again. The caller holds e.mu.
func (e *Engine) enter(h *held, b *Backend) {
	now := time.Now()
	l := e.laneOf(b, now)
	if !h.ticket {
		h.ticket = true
		if wait := l.limit.ReserveN(now, 1).DelayFrom(now); wait > 0 {
			e.queue.set(h, e.now().add(wait))
			return
		}
	}
	h.busy = true
	if l.running >= b.InFlight {
		l.waiting = append(l.waiting, h)
		return
	}
	e.run(l, h)
}

// run starts the poll of h. The caller holds e.mu.
func (e *Engine) run(l *lane, h *held) {
	l.running++
	h.ticket = false
	e.running.Go(func() { e.poll(l, h) })
}

// leave gives the place of a finished poll to the next one. The caller holds e.mu.
func (e *Engine) leave(l *lane) {
	l.running--
	if len(l.waiting) == 0 || e.ctx.Err() != nil {
		return
	}
	next := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	e.run(l, next)
}

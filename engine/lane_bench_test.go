package engine

import (
	"testing"
	"time"
)

// BenchmarkTurn has one intent wait for its turn among 100,000 that do, and gives it:
// to a backend that works, and to one that is down, where nobody gets one.
func BenchmarkTurn(b *testing.B) {
	const waiting = 100_000
	for _, name := range []string{"works", "is-down"} {
		b.Run(name, func(b *testing.B) {
			e, held := benchEngine(b, new(quiet))
			job := e.settings.Load().Jobs[*held[0].name]
			l, c := e.circuitOf(job)
			for range waiting {
				c.others.push(&late{waiting: true})
			}
			if name == "is-down" {
				c.state, c.probe = open, never
			}
			h := held[0]
			l.inFlight = 1
			for now := moment(0); b.Loop(); now = now.add(time.Second) {
				h.waiting = true
				c.watched.push(h)
				_, ok := l.take(now)
				switch {
				case ok != (name == "works"):
					b.Fatal("a turn where there is none, or none where there is one")
				case ok:
					l.running--
					c.finish(now, false, verdict{health: alive, started: now})
				default:
					_ = l.soonest(now)
					c.watched.entries = c.watched.entries[:0]
				}
			}
		})
	}
}

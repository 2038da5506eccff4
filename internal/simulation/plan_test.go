package simulation_test

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// A plan is everything that is decided before a schedule begins: who does what when,
// and what goes wrong.
type plan struct {
	seed     uint64
	horizon  time.Duration // until then clients come and faults happen
	clients  []clientPlan
	restarts []restartPlan
	reloads  []reloadPlan
	backend  []window[mood]
	store    []window[trouble]
	inFlight int
	late     time.Duration // how long the backend takes at most for a good answer
	loses    int           // of so many answers to what the store has done one is lost; 0 for none
}

// A window is a time in which something is so.
type window[T any] struct {
	from, to time.Duration
	is       T
}

func during[T any](windows []window[T], at time.Duration) (is T) {
	for _, w := range windows {
		if at >= w.from && at < w.to {
			is = w.is
		}
	}
	return is
}

type clientPlan struct {
	at        time.Duration
	job       string
	within    time.Duration // 0 for none
	key       bool
	repeats   []time.Duration // after at
	otherBody bool            // the last repeat has another body
	leaves    time.Duration   // the client's patience: then it breaks its request off
	cancels   time.Duration   // after it was accepted; 0 for never
	observers int
	takes     time.Duration // the job, from the submit to its end
	end       string        // "done", "failed", "cancelled"
}

type restartPlan struct {
	at, down time.Duration
	crash    bool
}

type reloadPlan struct {
	at       time.Duration
	interval time.Duration
	without  string // this job is not in the config
	renamed  string // this one is there under another name
}

// jobs are the names in the config: how their submits are answered and delivered.
var jobs = []string{"plain", "plain", "intent", "fail", "resubmit", "lookup"}

const (
	interval = time.Second // of polls, at least
	deadline = 3 * time.Minute
)

// draw makes a schedule of a seed.
func draw(seed uint64) plan {
	r := source(seed, "plan")
	p := plan{
		seed:     seed,
		horizon:  between(r, 20*time.Second, 3*time.Minute),
		inFlight: []int{1, 2, 4, 64, 64}[r.IntN(5)],
		late:     []time.Duration{0, 50 * time.Millisecond, 3 * time.Second}[r.IntN(3)],
	}
	if r.IntN(8) == 0 {
		p.loses = []int{16, 16, 4, 2}[source(seed, "losses").IntN(4)]
	}
	for range 1 + r.IntN(6) {
		p.clients = append(p.clients, drawClient(r, p.horizon))
	}
	for range r.IntN(3) {
		p.restarts = append(p.restarts, restartPlan{at: between(r, 0, p.horizon), down: between(r, 0, 20*time.Second), crash: r.IntN(3) > 0})
	}
	for range r.IntN(3) {
		p.reloads = append(p.reloads, drawReload(r, p.horizon))
	}
	for range r.IntN(4) {
		p.backend = append(p.backend, span(r, p.horizon, time.Minute, []mood{rough, rough, away, busy}[r.IntN(4)]))
	}
	for range r.IntN(3) {
		p.store = append(p.store, span(r, p.horizon, 20*time.Second, []trouble{full, gone, slow}[r.IntN(3)]))
	}
	return p
}

func drawClient(r *rand.Rand, horizon time.Duration) clientPlan {
	c := clientPlan{
		at:        between(r, 0, horizon),
		job:       jobs[r.IntN(len(jobs))],
		key:       r.IntN(2) == 0,
		observers: r.IntN(3),
		takes:     between(r, 0, 90*time.Second),
		leaves:    time.Minute,
		end:       []string{"done", "done", "done", "failed", "cancelled"}[r.IntN(5)],
	}
	if r.IntN(4) == 0 {
		c.within = between(r, time.Millisecond, 2*time.Minute)
	}
	if r.IntN(6) == 0 {
		c.leaves = between(r, time.Millisecond, 10*time.Second)
	}
	if r.IntN(3) == 0 {
		c.cancels = between(r, time.Millisecond, 100*time.Second)
	}
	if c.key {
		for range r.IntN(4) {
			c.repeats = append(c.repeats, between(r, 0, 30*time.Second))
		}
		c.otherBody = r.IntN(4) == 0
	}
	return c
}

func drawReload(r *rand.Rand, horizon time.Duration) reloadPlan {
	l := reloadPlan{at: between(r, 0, horizon), interval: interval * time.Duration(1+r.IntN(3))}
	switch name := jobs[r.IntN(len(jobs))]; r.IntN(3) {
	case 0:
		l.without = name
	case 1:
		l.renamed = name
	}
	return l
}

func span[T any](r *rand.Rand, horizon, most time.Duration, is T) window[T] {
	from := between(r, 0, horizon)
	return window[T]{from, from + between(r, time.Second, most), is}
}

// between never gives the same moment to two who ask: it is a number of nanoseconds.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// source gives everybody a sequence of their own, so that it does not matter who asks
// first.
func source(seed uint64, whose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(whose))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

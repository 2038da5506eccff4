package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
)

// Queue says that submits are stored and answered with the intent at once, and
// delivered when the backend can take them: with growing pauses while it cannot be
// reached or is too busy (408, 425, 429, 503).
type Queue struct {
	// How long a submit may take to be delivered. Then its intent ends as FAILED.
	// Default: 15m.
	For caddy.Duration `json:"for,omitempty"`

	// How many submits of the job may be undelivered at the same time; more are
	// refused with 503. Default: 1000.
	Max int `json:"max,omitempty"`

	// What to do with a submit whose answer did not come although the backend may have
	// it. `fail`: the intent ends as FAILED with submit_uncertain. `resubmit`: it is
	// sent again under the same Idempotency-Key, for backends that know it. `lookup`:
	// the backend is asked for the job by that key, as the job's `lookup` says.
	// Default: `fail`.
	OnUncertain string `json:"on_uncertain,omitempty"`
}

// compile fills in defaults and checks.
func (q *Queue) compile(spec adapter.Spec) (*engine.Queue, error) {
	if q == nil {
		return nil, nil
	}
	compiled := engine.Queue{
		For:         time.Duration(cmp.Or(q.For, caddy.Duration(engine.DefaultQueue.For))),
		Max:         cmp.Or(q.Max, engine.DefaultQueue.Max),
		OnUncertain: engine.Uncertain(cmp.Or(q.OnUncertain, string(engine.DefaultQueue.OnUncertain))),
	}
	switch {
	case compiled.For < time.Second:
		return nil, fmt.Errorf("queue: %s is too short; write at least 1s", compiled.For)
	case compiled.Max < 0:
		return nil, fmt.Errorf("queue max: %d is negative; write how many submits may wait", compiled.Max)
	case !slices.Contains(engine.Uncertains(), compiled.OnUncertain):
		return nil, fmt.Errorf("queue on_uncertain: unknown %q; write one of %s", q.OnUncertain, list(engine.Uncertains()))
	case compiled.OnUncertain == engine.UncertainLooksUp && spec.Lookup == nil:
		return nil, errors.New("queue on_uncertain: lookup does not say how; write for example `on_uncertain lookup GET /jobs?key={idempotency_key}`")
	}
	return &compiled, nil
}

// parseQueue parses
//
//	queue [<duration>] {
//	    max <submits>
//	    on_uncertain fail|resubmit
//	    on_uncertain lookup [[<method>] <target>] {
//	        header <name> <value>
//	        body   <text>
//	        job_id <expression>
//	    }
//	}
func (p *jobParser) parseQueue(d *caddyfile.Dispenser) error {
	q := new(Queue)
	p.job.Queue = q
	if d.NextArg() {
		d.Prev()
		if err := durationTo(&q.For)(d); err != nil {
			return err
		}
	}
	return block{
		"max":          countTo(&q.Max),
		"on_uncertain": p.parseOnUncertain,
	}.parse(d, "queue")
}

func (p *jobParser) parseOnUncertain(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("on_uncertain: write one of %s", list(engine.Uncertains()))
	}
	p.job.Queue.OnUncertain = d.Val()
	if d.Val() != string(engine.UncertainLooksUp) {
		if d.NextArg() {
			return d.Errf("on_uncertain: takes one word, and %q is one more", d.Val())
		}
		return nil
	}
	method, target, err := methodAndTarget(d)
	if err != nil {
		return err
	}
	l := new(adapter.Lookup)
	l.Method, l.Target = method, target
	if err := requestBlock(&l.Endpoint).with(block{"job_id": textTo(&l.JobID)}).parse(d, "lookup", "header"); err != nil {
		return err
	}
	if l.Target != "" || l.Header != nil || l.Body != "" || l.JobID != "" { // else it is the preset's
		p.job.Lookup = l
	}
	return nil
}

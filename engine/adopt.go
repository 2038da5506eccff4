package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// An Adoption is a job that nobody submitted here, as somebody found it who asked for
// its status.
type Adoption struct {
	Job      *Job
	Delivery intent.Delivery
	Origin   intent.Origin             // of who asked; scope, job, times and maker are filled in
	Maker    func(id intent.ID) string // who asked, as the intent with this id names them; nil for ""
	Instead  intent.ID                 // the ended intent of another job by the same name, zero if there is none
	Header   http.Header               // of the request, for the job's copy_headers
	Answer   adapter.Answer
	Asked    time.Time
}

// Adopt stores an intent for a job and follows it from here on. There is one intent
// for a job: who comes second is answered store.ErrExists.
func (e *Engine) Adopt(ctx context.Context, a Adoption) (intent.Intent, error) {
	now := e.store.Now()
	in := intent.Intent{ID: intent.NewID(now, store.ShardAt("", now)), Origin: a.Origin}
	in.Scope, in.Job = a.Job.Scope, a.Job.Name
	in.Created, in.Deadline = now, now.Add(a.Job.Deadline)
	if a.Maker != nil {
		in.Maker = a.Maker(in.ID)
	}
	in.Sealed = e.seal(a.Job, in.ID, a.Header)
	in, events := in.Begin(now)
	in, more := in.Deliver(a.Delivery, now)
	events = append(events, more...)
	r := a.Job.readForeign(&in, a.Answer)
	if r.Outcome != adapter.Readable {
		return in, ErrUnreadable
	}
	if r.Fetch != nil {
		r.Reading = e.fetchResult(ctx, a.Job, &in, *r.Fetch, r.Reading)
	}
	in.Memory = r.Memory
	in, more = in.Apply(r.Reading, now)
	events = append(events, more...)
	asked := e.moment(a.Asked)
	due := max(asked.add(max(a.Job.Pace.Interval, r.RetryAfter)), e.now())
	in.Due = e.wall(due)
	if in.Status.Terminal() {
		e.close(&in)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	held, err := e.store.Adopt(ctx, in, events, a.Instead)
	if err != nil {
		return in, err
	}
	e.mu.Lock()
	e.answers.want(in.ID)
	e.mu.Unlock()
	if in.Status.Terminal() {
		e.ended(in.ID, true, asked)
		e.reportEnd(&in)
		return in, nil
	}
	e.hold(held.Lease, &in, due)
	return in, nil
}

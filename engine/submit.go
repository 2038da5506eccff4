package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A Submission is what Submit has to know about a client's request that starts a
// job.
type Submission struct {
	Job    *Job
	Params map[string]string // captured from the path by the job's submit template
	Scheme string            // http or https, as the client sees it
	Client string            // the client's address, without port
	Prefix string            // stripped from the path before us
	Base   string            // where the intent API is, as the client sees it: "/v1/intents"

	// Present answers the client with the intent; it is called if the job's
	// Respond is RespondIntent.
	Present func(w http.ResponseWriter, in *intent.Intent)
}

// ErrNotAccepted is returned by Submit if nothing was sent because the store could
// not take what had to be written ahead. Trying again later makes sense.
var ErrNotAccepted = errors.New("the intent could not be stored ahead of the request")

// How long the backend may take for its answer once the client has left, and the
// store for a write that a client waits for.
const (
	submitLinger = 5 * time.Minute
	storeTimeout = 10 * time.Second
)

// Submit sends the client's request to the backend. If the answer names a job,
// the intent is stored, and only then the client answered as the job's Respond
// says; any other answer passes through untouched. It returns what the transport
// returned if there was no answer at all, and panics with http.ErrAbortHandler, as
// a reverse proxy does, if the answer broke off on its way to the client.
//
// Once the backend has the request the exchange is read to its end, although the
// client may have left: there is a job then, and somebody will ask for it.
//
// The store is not allowed to fail a client that asked for nothing new: if the
// intent cannot be stored the answer of the backend is passed on with the header
// "Intent-Status: unavailable".
func (e *Engine) Submit(w http.ResponseWriter, r *http.Request, s Submission) error {
	ctx, done := outlive(r.Context(), submitLinger)
	defer done()
	x := &exchange{engine: e, w: w, ctx: ctx, submission: s, host: r.Host, path: r.URL.EscapedPath(), before: w.Header().Clone()}
	if s.Job.Respond == RespondIntent {
		if err := x.reserve(); err != nil {
			return err
		}
	}
	err := s.Job.Backend.Transport.Send(x, x.outgoing(r))
	return x.finish(err)
}

// outlive returns a context that goes on for a while after its parent has ended.
func outlive(parent context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		timer := time.AfterFunc(d, cancel)
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx, func() { stop(); cancel() }
}

// outgoing is the request as the backend gets it: the client's own, but for what
// would keep the answer from being read.
func (x *exchange) outgoing(r *http.Request) *http.Request {
	out := r.Clone(x.ctx)
	out.Header.Del("Accept-Encoding") // a proxy's transport asks for what it can undo itself
	acceptNoStream(out.Header)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"} {
			out.Header.Del(name)
		}
	}
	if x.submission.Job.Adapter.ReadsRequest() && r.Body != nil {
		x.capture = &capture{body: r.Body, room: x.submission.Job.MaxBody}
		out.Body = x.capture
	}
	return out
}

// acceptNoStream takes text/event-stream out of Accept: a backend that streams the
// answer to a submit does not answer with a job.
func acceptNoStream(h http.Header) {
	accept := h.Values("Accept")
	if len(accept) == 0 {
		return
	}
	var keep []string
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, _, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(media), "text/event-stream") {
			keep = append(keep, strings.TrimSpace(item))
		}
	}
	if len(keep) == 0 {
		h.Set("Accept", "*/*")
		return
	}
	h.Set("Accept", strings.Join(keep, ", "))
}

// reserve writes the intent ahead of the request.
func (x *exchange) reserve() error {
	ctx, cancel := context.WithTimeout(x.ctx, storeTimeout)
	defer cancel()
	in := x.newIntent(time.Now())
	held, err := x.engine.store.Reserve(ctx, in)
	if err != nil {
		x.engine.log().Error("storing an intent ahead of its request", "job", in.Job, "err", err)
		return fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	x.reservation = &held
	return nil
}

func (x *exchange) newIntent(now time.Time) intent.Intent {
	s := x.submission
	return intent.Intent{
		ID: intent.NewID(now, 0),
		Origin: intent.Origin{
			Scope:    s.Job.Scope,
			Job:      s.Job.Name,
			Created:  now,
			Deadline: now.Add(s.Job.Deadline),
			Host:     x.host,
			Scheme:   s.Scheme,
			Client:   s.Client,
			Prefix:   s.Prefix,
		},
	}
}

// open makes the job that the answer names an intent and stores it. What the
// answer says of the job's state comes with it.
func (x *exchange) open(r adapter.SubmitReading) (intent.Intent, error) {
	now := time.Now()
	in := x.newIntent(now)
	if x.reservation != nil {
		in = x.reservation.Intent
	}
	if body, whole := x.capture.whole(); whole {
		in.Request, in.Captured = body, true
	}
	in, events := in.Begin(now)
	in, more := in.Deliver(r.Delivery, now)
	events = append(events, more...)
	in.Memory = r.Memory
	if r.Reading != nil {
		in, more = in.Apply(*r.Reading, now)
		events = append(events, more...)
	}
	pause := max(x.submission.Job.Pace.First, r.RetryAfter)
	in.Due = now.Add(pause)
	if in.Status.Terminal() {
		in.Expires = now.Add(x.engine.settings.Load().Retention)
	}
	lease, err := x.store(in, events)
	if err != nil {
		return in, err
	}
	if in.Status.Terminal() {
		x.engine.reportEnd(&in)
		return in, nil
	}
	x.engine.hold(lease, &in, x.engine.now().add(pause))
	return in, nil
}

func (x *exchange) store(in intent.Intent, events []intent.Event) (store.Lease, error) {
	ctx, cancel := context.WithTimeout(x.ctx, storeTimeout)
	defer cancel()
	if x.reservation == nil {
		held, err := x.engine.store.Create(ctx, in, events)
		return held.Lease, err
	}
	lease := x.reservation.Lease
	x.reservation = nil
	return lease, x.engine.store.Append(ctx, store.Change{Intent: in, Epoch: lease.Epoch, Events: events})
}

// unreserve forgets the reservation of a request that made no job.
func (x *exchange) unreserve() {
	if x.reservation == nil {
		return
	}
	ctx, cancel := context.WithTimeout(x.ctx, storeTimeout)
	defer cancel()
	if err := x.engine.store.Drop(ctx, x.reservation.ID, x.reservation.Epoch); err != nil {
		x.engine.log().Error("forgetting a reservation", "intent", x.reservation.ID, "err", err)
	}
	x.reservation = nil
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
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
	Owner  string            // whose the intent will be, as a MAC; "" where intents have no owners
	Key    string            // idempotency key with its scope, as a MAC; "" for none
	Former string            // the same under the secret before, while it is being replaced; "" for none

	// Queue, if set, has the request stored and delivered later, and the client answered
	// by Present at once. If it is not, the job's Queue counts.
	Queue *Queue
	// Hook is whom else the submit wants to be told of its intent's events, in the words
	// of the job's Teller; nil for nobody.
	Hook func(id intent.ID) string

	Envelope *intent.Envelope // to be told as it is; nil for none
	Compared []byte           // what a repeat of a queued request has to have the same of; nil for the body

	// Within bounds the deadline, from now on; 0 leaves it to the job. With Cancels the
	// job is canceled at the backend then, if its config says how.
	Within  time.Duration
	Cancels bool

	// ObserveURL is the URL of an intent's stream for the client; nil for the plain one.
	ObserveURL func(id intent.ID) string

	// Maker is who the submit is from, as the intent with this id names them; nil for "".
	Maker func(id intent.ID) string

	// Known is told the id of the intent that stands for the submit, be it the one that
	// a request with the same key has made: when it is stored, and before the client is
	// answered. Nil if nobody wants to know.
	Known func(id intent.ID)

	// Decorate adds to the head of the backend's answer, if set.
	Decorate func(h http.Header)

	// Present answers the client with the intent; it is called if the job's
	// Respond is RespondIntent.
	Present func(w http.ResponseWriter, in *intent.Intent)

	// Stream, if set, answers the client with the events of the intent instead of
	// what Respond says. The intent is stored ahead of the request.
	Stream func(w http.ResponseWriter, in *intent.Intent)

	// Await, if set, holds the answer back until the intent has ended, or for as long
	// as the client wants to wait. It returns the last answer that the backend gave to
	// a poll then, which is what the client gets; with nil it gets what it would have
	// got at once.
	Await func(in *intent.Intent) *adapter.Answer

	// Applied says in the head that the client's wish to wait was honoured; set with
	// Await.
	Applied func(h http.Header)
}

// These can be returned by Submit. Nothing was sent.
var (
	// ErrNotAccepted: the store could not take what had to be written ahead. Trying
	// again later makes sense.
	ErrNotAccepted = errors.New("the intent could not be stored ahead of the request")
	// ErrKeyReused: the idempotency key was used for a request with another body.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
	// ErrKeyInProgress: the first request with the key is still under way.
	ErrKeyInProgress = errors.New("a request with the same idempotency key is under way")
	// ErrKeyUncertain: whether the backend got the first request with the key cannot
	// be known, so it is not sent again.
	ErrKeyUncertain = errors.New("it is not known whether the backend got the first request with this idempotency key")
)

// ErrOnlyHints is returned by Submit if the backend sent informational answers without
// an end.
var ErrOnlyHints = errors.New("the backend sent informational answers and no other")

// ErrNotSent in the error of a Transport says that the backend got nothing: it
// could not be reached.
var ErrNotSent = errors.New("nothing was sent")

// How long the backend may take for its answer once the client has left, and the
// store for a write that a client waits for.
const (
	submitLinger = 5 * time.Minute
	storeTimeout = 10 * time.Second
)

// Submit sends the client's request to the backend. If the answer names a job,
// the intent is stored, and only then the client answered as the job's Respond
// says; any other answer passes through untouched. A submit that is queued is stored
// instead, and the client answered with the intent. Submit returns what the transport
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
	if s.Queue == nil {
		s.Queue = s.Job.Queue
	}
	x := &exchange{engine: e, w: w, ctx: ctx, giveUp: done, submission: s, host: r.Host, path: r.URL.EscapedPath(), asked: r.Header, before: w.Header().Clone()}
	if s.Queue != nil {
		return x.enqueue(r)
	}
	if answered, err := x.writeAhead(r); answered || err != nil {
		return err
	}
	failpoint.Hit(failpoint.Sending)
	err := s.Job.Backend.Transport.Send(x, x.outgoing(r))
	return x.finish(err)
}

// writeAhead stores a reservation if this submit needs one. It reports whether the
// client is answered already: with what the first request under the same key got.
func (x *exchange) writeAhead(r *http.Request) (answered bool, err error) {
	switch {
	case x.submission.Key != "":
		return x.claimKey(r)
	case x.submission.Queue != nil: // all that is sent is written ahead
		return false, nil
	case x.submission.Job.Respond == RespondIntent, x.submission.Stream != nil:
		return false, x.reserve()
	}
	return false, nil
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
	if x.submission.Await != nil {
		preferNoWait(out.Header)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"} {
			out.Header.Del(name)
		}
	}
	if r.Body == nil {
		return out
	}
	if x.submission.Job.Adapter.ReadsRequest() {
		x.capture = newCapture(r.Body, x.submission.Job.MaxBody, r.URL.RawQuery)
	} else if x.submission.Key != "" {
		x.capture = newCapture(r.Body, 0, r.URL.RawQuery) // for its hash
	}
	if x.capture != nil {
		out.Body = x.capture
	}
	if x.submission.Key != "" && out.ContentLength == 0 {
		_, out.ContentLength = unrepeatable()
	}
	return out
}

// unrepeatable is no body, in a way that keeps Go's transport from repeating a request
// that has a key when a connection breaks: of a body of unknown length it is afraid.
func unrepeatable() (io.ReadCloser, int64) { return io.NopCloser(strings.NewReader("")), -1 }

// preferNoWait takes wait out of Prefer: it is we who wait.
func preferNoWait(h http.Header) {
	var keep []string
	for _, line := range h.Values("Prefer") {
		for item := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(item), "=")
			if item = strings.TrimSpace(item); item != "" && !strings.EqualFold(strings.TrimSpace(name), "wait") {
				keep = append(keep, item)
			}
		}
	}
	h.Del("Prefer")
	if len(keep) > 0 {
		h.Set("Prefer", strings.Join(keep, ", "))
	}
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
	in := x.newIntent(x.engine.store.Now())
	held, err := x.engine.store.Reserve(ctx, in)
	if inDoubt(err) {
		x.engine.owe(debt{in.ID, func(ctx context.Context) error { return x.engine.dropDoubtful(ctx, in.ID) }})
	}
	switch {
	case errors.Is(err, store.ErrExists):
		return err
	case err != nil:
		x.engine.log().Error("storing an intent ahead of its request", "job", x.submission.Job.Name, "err", err)
		return fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	x.reservation = &held
	failpoint.Hit(failpoint.Reserved)
	return nil
}

// dropDoubtful forgets a reservation that nobody uses, if the store has it.
func (e *Engine) dropDoubtful(ctx context.Context, id intent.ID) error {
	held, err := e.store.Take(ctx, id)
	if err != nil {
		return err
	}
	return e.store.Drop(ctx, id, held.Epoch)
}

func (x *exchange) known(id intent.ID) {
	if x.submission.Known != nil {
		x.submission.Known(id)
	}
}

func (x *exchange) newIntent(now time.Time) intent.Intent {
	s := x.submission
	in := intent.Intent{
		ID: intent.NewID(now, store.ShardAt(s.Key, now)),
		Origin: intent.Origin{
			Scope:    s.Job.Scope,
			Owner:    s.Owner,
			Job:      s.Job.Name,
			Created:  now,
			Deadline: now.Add(s.deadline()),
			Host:     x.host,
			Scheme:   s.Scheme,
			Client:   s.Client,
			Prefix:   s.Prefix,
			Key:      s.Key,
			Cancels:  s.Cancels,
			Envelope: s.Envelope,
			Closed:   x.engine.settings.Load().Sealer != nil,
		},
	}
	if s.Maker != nil {
		in.Maker = s.Maker(in.ID)
	}
	if s.Hook != nil {
		in.Hook = s.Hook(in.ID)
	}
	if s.Queue != nil { // a reservation of it was not sent
		in.Outgoing = new(intent.Outgoing)
	}
	return in
}

// deadline is how long the intent may take.
func (s *Submission) deadline() time.Duration {
	if s.Within > 0 {
		return min(s.Within, s.Job.Deadline)
	}
	return s.Job.Deadline
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A said is what came of asking about an intent.
type said struct {
	code    int
	answer  *adapter.Answer // nil if it was about others, too
	shared  int             // the code of that answer then
	reading adapter.PollReading
	err     error // there was no answer
}

// errUnasked in an error says that it is not the backend's: nothing was sent.
var errUnasked = errors.New("nothing was asked")

// health is what an answer, or that there was none, says of the backend. A rule that
// reads a 500 as the state of a job makes it an answer as any other.
func (q said) health() health {
	if q.err == nil && q.reading.Outcome != adapter.Unavailable {
		return alive
	}
	return healthBy(q.code, q.err)
}

func healthBy(code int, err error) health {
	switch {
	case errors.Is(err, errUnasked):
		return unclear
	case err != nil, isSick(code):
		return sick
	}
	return alive
}

func isSick(code int) bool { return code >= 500 || code == http.StatusTooManyRequests }

// read says what an answer means for the intent.
func (e *Engine) read(ctx context.Context, h *held, s step, in *intent.Intent, q said) (intent.Intent, []intent.Event, step) {
	r := q.reading
	next := *in
	s.tookCancel = e.takeCancel(h, &next)
	if q.err != nil {
		s.outcome = unavailable
		e.log().Debug("polling", "intent", in.ID, "job", in.Job, "attempt", h.failures+1, "err", q.err)
		next, events := e.wait(h, next, "backend")
		return next, events, s
	}
	s.retryAfter = r.RetryAfter
	e.warnRefused(in, r.Refused)
	next.Memory = r.Memory
	switch r.Outcome {
	case adapter.Readable:
		s.outcome = answered
		next.Unreadable, next.Missing = 0, 0
		if r.Fetch != nil {
			r.Reading = e.fetchResult(ctx, s.job, in, *r.Fetch, r.Reading)
		}
		s.told = r.Reading.Status.Terminal()
		s.unknown = r.Reading.UnknownState != ""
		e.warnUnknown(in, r.Reading.UnknownState)
		next, events := next.Apply(r.Reading, e.store.Now())
		return next, events, s
	case adapter.Unavailable:
		s.outcome = unavailable
		e.log().Debug("backend is unavailable", "intent", in.ID, "job", in.Job, "code", q.code, "attempt", h.failures+1)
		next, events := e.wait(h, next, "backend")
		return next, events, s
	case adapter.Missing, adapter.Gone:
		s.outcome = missing
		next, events := e.miss(h, s, next, r)
		return next, events, s
	case adapter.Unreadable:
		if refusesCredentials(q.code) {
			s.outcome = unavailable
			next, events := e.lackCredentials(in, next, s.job)
			return next, events, s
		}
	}
	s.outcome = unreadable
	next, events := e.misread(h, s, next, q)
	return next, events, s
}

// misread is read for an answer that tells no state. Time in which nothing else comes is
// counted, and ends the intent when there was enough of it.
func (e *Engine) misread(h *held, s step, next intent.Intent, q said) (intent.Intent, []intent.Event) {
	reason := q.reading.Reason
	e.log().Debug("status could not be read", "intent", next.ID, "job", next.Job, "reason", reason, "attempt", h.failures+1)
	if h.last == unreadable {
		next.Unreadable += s.started.sub(h.polled)
	}
	if next.Unreadable >= s.job.Pace.GiveUp {
		return next.End(intent.Failed, intent.Details{Error: gaveUp(q.reading, s.job.Pace.GiveUp)}, e.store.Now())
	}
	if h.failures+1 >= waitAfter && e.told.first("unreadable", next.Scope, next.Job) {
		e.log().Warn("the backend's status answers cannot be read; intents fail after give_up",
			"job", next.Job, "intent", next.ID, "code", q.code, "reason", reason)
	}
	return e.wait(h, next, "unreadable")
}

func (e *Engine) askStatus(ctx context.Context, job *Job, in *intent.Intent) (adapter.Answer, adapter.PollReading, error) {
	in = e.opened(job, in)
	q, err := e.statusRequest(job, in)
	if err != nil {
		return adapter.Answer{}, adapter.PollReading{}, err
	}
	asked := e.now()
	answer, err := e.ask(ctx, job, in, q)
	if err != nil {
		return adapter.Answer{}, adapter.PollReading{}, err
	}
	e.warnCookie(in, answer.Header)
	r := job.Adapter.ReadPoll(in, answer)
	e.keep(in, q, answer, r, asked)
	return answer, r, nil
}

func (e *Engine) statusRequest(job *Job, in *intent.Intent) (adapter.Request, error) {
	q, err := job.Adapter.PollRequest(e.opened(job, in))
	if err != nil {
		return q, fmt.Errorf("%w: %w", errUnasked, err)
	}
	if e.wantsBody(in.ID) {
		q.Header.Del("If-None-Match")
	}
	return q, nil
}

// fetchResult asks for the result of a job that is done. What cannot be fetched
// stays where it is: the reading keeps its URL.
func (e *Engine) fetchResult(ctx context.Context, job *Job, in *intent.Intent, q adapter.Request, r intent.Reading) intent.Reading {
	answer, err := e.ask(ctx, job, in, q)
	if err != nil {
		e.log().Warn("fetching the result", "intent", in.ID, "job", in.Job, "err", err)
		return r
	}
	return job.Adapter.ReadFetched(e.opened(job, in), r, answer)
}

// waitAfter is how many polls in a row may fail before observers are told that
// the backend keeps them waiting. One refused connection is not news.
const waitAfter = 3

// wait says in the intent what it waits for, once that is more than a moment.
func (e *Engine) wait(h *held, in intent.Intent, why string) (intent.Intent, []intent.Event) {
	if h.failures+1 < waitAfter {
		return in, nil
	}
	return in.Wait(why, e.store.Now())
}

func gaveUp(r adapter.PollReading, after time.Duration) *intent.Error {
	return &intent.Error{
		Code:     intent.CodeUnreadable,
		Message:  "the status could not be read for " + after.String() + "; the last answer: " + r.Reason,
		Category: intent.ByProtocol,
	}
}

package adapter

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A CancelOutcome is what the backend said to a cancel.
type CancelOutcome uint8

const (
	CancelAccepted    CancelOutcome = iota + 1 // it will cancel, or has
	CancelOver                                 // there is nothing to cancel (any more); the next poll tells why
	CancelRefused                              // it will not
	CancelUnavailable                          // it could not answer
)

func (o CancelOutcome) String() string {
	return [...]string{"", "accepted", "over", "refused", "unavailable"}[o]
}

// CancelRequest is the request that cancels the intent's job. It answers false if
// the job API has none.
func (j *Job) CancelRequest(in *intent.Intent) (Request, bool, error) {
	s := j.stageOf(in)
	if s.job.cancel == nil {
		return Request{}, false, nil
	}
	r, err := s.job.cancel.request("cancel", s.in, s.job.hosts, s.url())
	return r, err == nil, err
}

// ReadCancel reads the answer to the cancel of an intent's job. That a job is over is
// said with 404 or 410 by APIs that forget it, with 400, 405 or 409 by those that do
// not. The codes that an operator has written go first.
func (j *Job) ReadCancel(in *intent.Intent, a Answer) CancelOutcome {
	s := j.stageOf(in)
	if s.job.cancel == nil {
		return readCancel(a.Code)
	}
	return s.job.cancel.outcome(a.Code)
}

func (e *endpoint) outcome(code int) CancelOutcome {
	usual := readCancel(code)
	switch {
	case slices.Contains(e.accept, code):
		return CancelAccepted
	case slices.Contains(e.over, code):
		return CancelOver
	case usual == CancelAccepted && e.accept != nil, usual == CancelOver && e.over != nil:
		return CancelRefused
	}
	return usual
}

func readCancel(code int) CancelOutcome {
	switch {
	case code >= 200 && code < 300, code == http.StatusSeeOther:
		return CancelAccepted
	case code == http.StatusTooManyRequests, code >= 500 && code != http.StatusNotImplemented:
		return CancelUnavailable
	}
	switch code {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusGone:
		return CancelOver
	}
	return CancelRefused
}

// A canceling is how clients' own cancels look.
type canceling struct {
	template *template // nil if the backend names the URL
	shape    *regexp.Regexp
}

// canceling compiles what MatchCancel needs. A cancel that is one by its body alone
// cannot be told from other requests, and one to a URL that only an answer named
// leads to no status URL: those are not matched.
func (c *compiler) canceling() error {
	cancel, status := c.job.cancel, c.job.status.target
	if cancel == nil || cancel.body != nil {
		return nil
	}
	switch {
	case cancel.target == nil && status == nil:
		c.job.cancels = &canceling{}
		return nil
	case status == nil || status.whole || cancel.target != nil && cancel.target.whole:
		return nil
	}
	t := cancel.target
	if t == nil { // the status URL; whoever cancels need not write its query
		path, _, _ := strings.Cut(status.src, "?")
		if !strings.Contains(path, "{"+jobIDCapture+"}") {
			path = status.src
		}
		var err error
		if t, err = parseTarget(path); err != nil {
			return &SpecError{Field: "cancel", Err: err}
		}
	}
	c.job.cancels = &canceling{template: t, shape: t.shape()}
	return nil
}

// MatchCancel reports whether a client's own request is the cancel of one of these
// jobs, and which: by its status URL. Path and query are escaped.
func (j *Job) MatchCancel(method, path, query string) (statusURL string, ok bool) {
	if j.cancels == nil || method != j.cancel.method {
		return "", false
	}
	whole := path
	if query != "" {
		whole += "?" + query
	}
	t := j.cancels.template
	switch {
	case t == nil:
		return whole, true
	case !strings.Contains(t.src, "?"):
		whole = path
	}
	values, ok := t.valuesIn(whole, j.cancels.shape)
	if !ok {
		return "", false
	}
	statusURL, err := j.status.target.expandTarget(values)
	return statusURL, err == nil
}

package adapter

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// A hop is a compiled Hop. Its job speaks to the backend once the hop has begun.
type hop struct {
	params    []param
	statusURL *expr
	job       *Job
}

// then compiles the second hop, with the words of a job in it.
func (c *compiler) then() error {
	h := c.spec.Then
	if h == nil {
		return nil
	}
	inner := compiler{
		spec: Spec{Submit: c.spec.Submit, Cancel: h.Cancel, State: h.State, Progress: h.Progress, Message: h.Message, Result: h.Result, Error: h.Error},
		job:  &Job{route: c.job.route, match: c.job.match, mark: c.job.mark},
		told: slices.Clone(c.told),
	}
	inner.spec.Status = h.Status
	if h.Status == nil && c.spec.Status != nil {
		inner.spec.Status = &Endpoint{Header: c.spec.Status.Header}
	}
	compiled := hop{job: inner.job}
	err := compiled.begins(&inner, h)
	for _, step := range []func() error{inner.cancel, inner.state, inner.progress, inner.texts, inner.result} {
		if err != nil {
			break
		}
		err = step()
	}
	if wrong, ok := errors.AsType[*SpecError](err); ok {
		return &SpecError{Field: "then " + wrong.Field, Err: wrong.Err}
	}
	c.job.readsRequest = c.job.readsRequest || inner.job.readsRequest
	c.job.readsBody = true // of the first hop: where the second one is
	c.job.then = &compiled
	return err
}

// begins compiles what says when the hop begins, and where.
func (h *hop) begins(c *compiler, written *Hop) (err error) {
	known := len(c.told)
	if h.params, err = c.params("param", written.Params); err != nil {
		return err
	}
	own := c.told[known:]
	status, err := c.endpoint("status", cmp.Or(c.spec.Status, &Endpoint{}), http.MethodGet)
	if err != nil {
		return err
	}
	h.job.status = *status
	switch {
	case (status.target == nil) == (written.StatusURL == ""):
		return specErr("status", "says nothing of when the hop begins: write either status_url <expression>, or status <path with a param of this hop>")
	case status.target != nil && !slices.ContainsFunc(status.target.captures(), func(name string) bool {
		return slices.Contains(own, strings.TrimPrefix(name, paramsPrefix))
	}):
		return specErr("status", "%q contains no param of this hop, so it would begin at once: write param <name> <expression> and {params.<name>}", status.target.src)
	}
	h.statusURL, err = c.submitExpr("status_url", written.StatusURL)
	return err
}

// begin looks in an answer of the first hop for the second one. It answers nil as
// long as the hop has not begun.
func (h *hop) begin(s stage, v *view, p *PollReading) (*begun, error) {
	params, err := capture(h.params, v, s.in.Params)
	if err != nil {
		return nil, err
	}
	if h.statusURL == nil {
		url, err := h.job.status.target.expandTarget(captured{jobID: s.in.JobID, params: params})
		if err != nil {
			return nil, nil // a param is not there yet
		}
		return &begun{URL: url, Params: params}, nil
	}
	inner := *v
	inner.params = params
	told, err := h.statusURL.text(&inner)
	if err != nil || told == "" {
		return nil, err
	}
	url, err := s.job.hosts.accept(told, originAt(s.in, s.url()))
	if err != nil {
		p.Refused = redact(told)
		return nil, nil
	}
	return &begun{URL: url, Params: params}, nil
}

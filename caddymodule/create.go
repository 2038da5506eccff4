package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
)

// creator starts jobs by their names.
type creator struct {
	*Handler
	parts *parts
}

// Create implements observe.Creator. The backend gets the job's submit with the payload
// as its body, and of the request's headers those that a queued submit keeps: whoever
// may start the job is for the backend to say then, as for anybody else.
func (c creator) Create(w http.ResponseWriter, r *http.Request, creation observe.Creation) error {
	job := c.jobNamed(creation.Job)
	if job == nil {
		return &observe.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_intent_type",
			Message: fmt.Sprintf("intent_type %.100q is not the name of a job", creation.Job)}
	}
	s := starting{Handler: c.Handler, parts: c.parts, r: r, job: job}
	sub, problem := s.submission()
	if problem != nil {
		return problem
	}
	sub.Queue, sub.Envelope, sub.Compared = job.Queue, &creation.Envelope, creation.Body
	if sub.Queue == nil {
		sub.Queue = &engine.DefaultQueue
	}
	if creation.Within > 0 && (sub.Within == 0 || creation.Within < sub.Within) {
		sub.Within = creation.Within
	}
	sub.Await, sub.Applied = nil, nil
	sub.Present = func(w http.ResponseWriter, in *intent.Intent) { s.observer(s.parts).Created(w, s.viewed(r), in) }
	request, err := c.submitOf(job, r, creation.Payload)
	if err != nil {
		return err
	}
	return s.answer(w, s.send(w, request, sub))
}

func (h *Handler) jobNamed(name string) *engine.Job {
	for _, j := range h.jobs {
		if j.Name == name {
			return j
		}
	}
	return nil
}

// submitOf is the request that starts the job, made of one under our own path.
func (c creator) submitOf(job *engine.Job, r *http.Request, payload []byte) (*http.Request, error) {
	route := job.Adapter.Route()
	if (route.Method == http.MethodGet || route.Method == http.MethodHead) && string(payload) != "{}" {
		return nil, &observe.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_payload",
			Message: "payload must be empty: the job is started by a " + route.Method + ", which has no body"}
	}
	u, err := url.ParseRequestURI(route.Path)
	if params, ok := job.Adapter.MatchSubmit(route.Method, route.Path); !ok || len(params) > 0 || err != nil {
		return nil, &observe.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_intent_type",
			Message: "the job can be started by its own URL only: that has parts which a payload cannot fill in"}
	}
	request := r.Clone(r.Context())
	request.Method, request.URL, request.RequestURI = route.Method, u, route.Path
	request.Header.Del("Content-Encoding")
	if string(payload) == "{}" && route.Method == http.MethodGet || route.Method == http.MethodHead {
		request.Header.Del("Content-Type")
		request.Body, request.ContentLength = http.NoBody, 0
		return request, nil
	}
	request.Header.Set("Content-Type", "application/json")
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(payload)), int64(len(payload))
	return request, nil
}

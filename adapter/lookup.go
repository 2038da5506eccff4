package adapter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Lookup is a request that finds a job by the idempotency key that it was
// submitted with: it settles whether the backend has a job whose submit was not
// answered.
type Lookup struct {
	// The request (default method GET). {idempotency_key} stands in its target, a
	// header or its body. Without headers of its own it carries those of status.
	Endpoint

	// An expression over the answer that gives the job's id, for example
	// body.jobs[0].id. Where it is absent in a 2xx the backend has no such job.
	// Default: job_id or auto, and then only 404 and 410 say that there is none.
	JobID string `json:"job_id,omitempty"`
}

const keyCapture = "idempotency_key"

// keyParam is where the key is among the values for placeholders. No parameter can
// have this name.
const keyParam = "idempotency key"

// A lookup is a compiled Lookup.
type lookup struct {
	request endpoint
	answer  *Job // reads the answer as one to a submit
	told    bool // an answer without an id says that there is no job
}

func (c *compiler) lookup(o Options) error {
	spec := c.spec.Lookup
	if spec == nil {
		return nil
	}
	if spec.Target == "" {
		return specErr("lookup", "is missing its path: write the request that finds a job by its key, such as lookup GET /jobs?key={idempotency_key}")
	}
	e := spec.Endpoint
	if e.Header == nil && c.spec.Status != nil {
		e.Header = c.spec.Status.Header
	}
	request, err := c.endpoint("lookup", &e, http.MethodGet)
	if err != nil {
		return err
	}
	if !request.captures(keyCapture) {
		return specErr("lookup", "%q does not contain {idempotency_key}, so it would find any job: write it where the key goes", spec.Target)
	}
	if request.captures(jobIDCapture) {
		return specErr("lookup", "%q contains {job_id}, and that is what it has to find: write {idempotency_key}", spec.Target)
	}
	plain := c.spec
	plain.Lookup, plain.Submit.RefusedWhen, plain.Submit.FinalWhen = nil, "", ""
	plain.JobID = cmp.Or(spec.JobID, plain.JobID)
	answer, err := Compile(plain, o)
	if err != nil {
		if e, ok := errors.AsType[*SpecError](err); ok && e.Field == "job_id" && spec.JobID != "" {
			return &SpecError{Field: "lookup job_id", Err: e.Err}
		}
		return err
	}
	c.job.lookup = &lookup{request: *request, answer: answer, told: spec.JobID != ""}
	return nil
}

// LooksUp reports whether jobs can be found by their idempotency key.
func (j *Job) LooksUp() bool { return j.lookup != nil }

// LookupRequest is the request that finds the job of a submit. There has to be a way.
func (j *Job) LookupRequest(in *intent.Intent, key string) (Request, error) {
	asked := *in
	asked.Params = maps.Clone(in.Params)
	if asked.Params == nil {
		asked.Params = make(map[string]string)
	}
	asked.Params[keyParam] = key
	return j.lookup.request.request("lookup", &asked, j.hosts, "")
}

// ReadLookup reads the answer to a lookup: Delivered if it names the job, Undelivered
// if there is no such job, or Uncertain still.
func (j *Job) ReadLookup(s Submitted, a Answer) DeliveryReading {
	d := DeliveryReading{RetryAfter: a.retryAfter()}
	reading, err := j.lookup.answer.ReadSubmit(s, a)
	switch {
	case err == nil:
		d.Outcome, d.Submit = Delivered, reading
	case a.Code == http.StatusNotFound, a.Code == http.StatusGone,
		j.lookup.told && a.Code >= 200 && a.Code < 300 && !a.Cut && j.lookup.absent(s, a):
		d.Outcome, d.Reason = Undelivered, "the backend has no job by this key"
	default:
		d.Outcome, d.Reason = Uncertain, fmt.Sprintf("the lookup was answered with %d, which does not tell", a.Code)
	}
	return d
}

// absent reports whether the answer was understood and has no id.
func (l *lookup) absent(s Submitted, a Answer) bool {
	v := &view{Answer: a, params: s.Params, asked: s.Body, captured: s.Body != nil}
	if a.Code != http.StatusNoContent && !v.decode().structured() {
		return false
	}
	value, err := l.answer.jobID.eval(v)
	return err == nil && value == nil
}

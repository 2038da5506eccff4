package adapter

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A batch is a compiled Batch.
type batch struct {
	method   string
	target   *listing
	body     *listing // nil for none
	header   []headerLine
	params   []string // names of what it uses of the submit's captures
	max      int
	elements *expr
	id       *expr
	keyed    string
}

// What Batch.Keyed can say.
const (
	keyedByID    = "id"
	keyedByState = "state"
)

// Bounds of a batch. An answer is read to 1 MiB, which is what ten thousand
// elements with nothing but an id and a state take.
const (
	defaultBatch = 100
	maxBatch     = 1000
	maxElements  = 10_000
)

func (c *compiler) batch() (err error) {
	if c.spec.Poll == nil || c.spec.Poll.Batch == nil {
		return nil
	}
	s := c.spec.Poll.Batch
	b := &batch{max: cmp.Or(s.Max, defaultBatch), keyed: s.Keyed}
	switch {
	case c.spec.Poll.Wait != "":
		return specErr("poll batch", "cannot be combined with wait: a request about many jobs would wait for whichever changes first; write one of them")
	case c.spec.NextURL != "":
		return specErr("poll batch", "cannot be combined with next_url: each job has a URL of its own then")
	case b.max < 2 || b.max > maxBatch:
		return specErr("poll batch max", "%d is out of range: write 2 to %d", s.Max, maxBatch)
	case b.keyed != "" && b.keyed != keyedByID && b.keyed != keyedByState:
		return specErr("poll batch keyed", "%q is unknown: write id or state", b.keyed)
	case b.keyed == keyedByID && s.ID != "":
		return specErr("poll batch id", "the ids are the keys already (keyed id): leave it out")
	}
	if err := c.batchRequest(b, s); err != nil {
		return err
	}
	if b.elements, err = c.batchExpr("poll batch elements", s.Elements); err != nil {
		return err
	}
	if b.id, err = c.batchExpr("poll batch id", s.ID); err != nil {
		return err
	}
	c.job.batch = b
	return nil
}

// batchRequest compiles what is sent. Without headers of its own it carries those
// of status, which is where a token is.
func (c *compiler) batchRequest(b *batch, s *Batch) (err error) {
	method := http.MethodGet
	if s.Body != "" {
		method = http.MethodPost
	}
	b.method = cmp.Or(s.Method, method)
	if err := checkMethod("poll batch", b.method); err != nil {
		return err
	}
	if s.Target == "" {
		return specErr("poll batch", "its path is missing: write for example batch GET /jobs?ids={job_ids}")
	}
	if b.target, err = parseListing(s.Target); err != nil {
		return &SpecError{Field: "poll batch", Err: err}
	}
	header := s.Header
	if header == nil && c.spec.Status != nil {
		header = c.spec.Status.Header
	}
	if s.Body != "" {
		if media := mediaTypeOf(header); !isJSON(media) {
			return specErr("poll batch body", "is JSON, and its Content-Type is %s: leave that out of the headers", media)
		}
		if err := checkPlaceholders("poll batch body", s.Body); err != nil {
			return err
		}
		if b.body, err = parseBodyListing(s.Body); err != nil {
			return &SpecError{Field: "poll batch body", Err: err}
		}
		if b.body.lists() && b.target.lists() {
			return specErr("poll batch body", "the ids stand in the path already: write {job_ids} once")
		}
	}
	if b.header, err = c.headerLines("poll batch", header); err != nil {
		return err
	}
	return c.batchCaptures(b)
}

// batchCaptures notes what the request uses of the submit's captures: intents that
// differ in it cannot share a request.
func (c *compiler) batchCaptures(b *batch) error {
	templates := b.target.templates()
	if b.body != nil {
		templates = append(templates, b.body.templates()...)
	}
	for _, line := range b.header {
		templates = append(templates, line.value)
	}
	for _, t := range templates {
		if err := c.checkCaptures("poll batch", t); err != nil {
			return err
		}
		for _, name := range t.captures() {
			param, isParam := strings.CutPrefix(name, paramsPrefix)
			if !isParam {
				return specErr("poll batch", "%q contains {job_id}, which is one job: write {job_ids}; headers are those of status unless the block has its own", t.src)
			}
			if !slices.Contains(b.params, param) {
				b.params = append(b.params, param)
			}
		}
	}
	return nil
}

// batchExpr compiles an expression about a whole answer or an element of it, before
// it is known whose it is.
func (c *compiler) batchExpr(field, src string) (*expr, error) {
	e, err := compileExpr(field, src)
	if err != nil || e == nil {
		return nil, err
	}
	for _, name := range []string{varParams, varRequest} {
		if e.uses(name) {
			return nil, specErr(field, "%q uses %s, which is about one job, and this is about many", src, name)
		}
	}
	return e, nil
}

// BatchSize is how many jobs one request can be about, 0 if the job API has no such
// request.
func (j *Job) BatchSize() int {
	if j.batch == nil {
		return 0
	}
	return j.batch.max
}

// BatchKey gives what intents have to agree in to share a request, besides Host and
// scheme. It answers false for a job that has to be asked for alone.
func (j *Job) BatchKey(in *intent.Intent) (key string, ok bool) {
	b := j.batch
	if b == nil || j.then != nil && j.stageOf(in).second || !b.target.takes(in.JobID) || b.body != nil && !b.body.takes(in.JobID) {
		return "", false
	}
	for _, name := range b.params {
		key += in.Params[name] + "\x00"
	}
	return key, true
}

// BatchRequest is the request for the states of the intents' jobs, which agree in
// their key. It is about the first n of them: more than fit into a URL are left out.
func (j *Job) BatchRequest(ins []*intent.Intent) (r Request, n int, err error) {
	values := captured{params: ins[0].Params}
	ids := make([]string, len(ins))
	for i, in := range ins {
		ids[i] = in.JobID
	}
	b := j.batch
	for n = min(len(ids), b.max); ; n = (n + 1) / 2 {
		r.URL, err = b.target.expandTarget(ids[:n], values)
		if err != errLong || n == 1 {
			break
		}
	}
	if err != nil {
		return Request{}, 0, fmt.Errorf("making the batch request: %w", err)
	}
	r.Method = b.method
	if r.Header, err = expandHeader(b.header, values); err != nil {
		return Request{}, 0, fmt.Errorf("making the batch request: %w", err)
	}
	if b.body != nil {
		body, err := b.body.expand(ids[:n], values)
		if err != nil {
			return Request{}, 0, fmt.Errorf("making the batch request: body: %w", err)
		}
		r.Body = []byte(body)
		if r.Header.Get("Content-Type") == "" {
			r.Header.Set("Content-Type", jsonType)
		}
	}
	return r, n, nil
}

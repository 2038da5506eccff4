package adapter

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			line, err := c.headerLine("poll batch", name, value)
			if err != nil {
				return err
			}
			b.header = append(b.header, line)
		}
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
	r.Method, r.Header = b.method, make(http.Header, len(b.header)+1)
	if b.body != nil {
		body, err := b.body.expand(ids[:n], values)
		if err != nil {
			return Request{}, 0, fmt.Errorf("making the batch request: body: %w", err)
		}
		r.Body = []byte(body)
		r.Header.Set("Content-Type", "application/json")
	}
	own := make(http.Header, len(b.header))
	for _, line := range b.header {
		value, err := line.value.expand(values)
		if err != nil {
			return Request{}, 0, fmt.Errorf("making the batch request: header %s: %w", line.name, err)
		}
		own.Add(line.name, value)
	}
	maps.Copy(r.Header, own)
	return r, n, nil
}

// A BatchReading is what the answer to a batch said.
type BatchReading struct {
	// Outcome is Readable if the answer could be taken apart. Unreadable and
	// Unavailable are then those of every job that was asked for.
	Outcome Outcome

	// Refused says that the backend will not answer such a request. It tells nothing
	// about any job.
	Refused bool

	Reason string // why the answer was not taken apart; short and without payload

	// Readings has one reading for each intent, as ReadPoll would give, or nil for a
	// job that is not in the answer, or not clearly: it is to be asked for alone
	// before anything is concluded.
	Readings []*PollReading
}

// ReadBatch reads the answer to a batch request about the intents' jobs. An element
// is read as the answer to a poll is, with the code and the headers of the whole.
func (j *Job) ReadBatch(ins []*intent.Intent, a Answer) BatchReading {
	r := BatchReading{Outcome: Readable, Readings: make([]*PollReading, len(ins))}
	var elements map[string]any
	if r.Outcome, r.Reason = byCode(a.Code); r.Outcome == 0 {
		r.Outcome = Readable
		var err error
		if elements, err = j.batch.read(a, ins); err != nil {
			r.Outcome, r.Reason = Unreadable, err.Error()
		}
	} else if r.Outcome != Unavailable || a.Code == http.StatusNotImplemented {
		// A 404 too: it is about the batch, and about none of the jobs.
		r.Outcome, r.Refused = Unreadable, true
		return r
	}
	for i, in := range ins {
		if r.Outcome != Readable {
			r.Readings[i] = &PollReading{Outcome: r.Outcome, Reason: r.Reason, RetryAfter: a.retryAfter(), Memory: in.Memory}
		} else if element := elements[in.JobID]; element != nil {
			said := j.readView(in, elementView(a, element))
			r.Readings[i] = &said
		}
	}
	return r
}

// elementView shows one element as if it had been the whole answer. An ETag is that
// of the whole: it says nothing about the element.
func elementView(a Answer, element any) *view {
	return &view{Answer: Answer{Code: a.Code, Header: a.Header, At: a.At}, element: true, decoded: true, kind: jsonBody, body: element}
}

// read finds the elements of the jobs that were asked for, by their id. A job with
// two of them has none: which one holds is not known.
func (b *batch) read(a Answer, ins []*intent.Intent) (map[string]any, error) {
	whole := &view{Answer: a}
	if !whole.decode().structured() {
		return nil, fmt.Errorf("batch: %s", whole.problem)
	}
	all, err := b.all(whole)
	if err != nil {
		return nil, err
	}
	found := make(map[string]any, len(ins))
	for _, in := range ins {
		found[in.JobID] = nil
	}
	if b.keyed == keyedByID {
		byID, _ := all.(map[string]any)
		for id := range found {
			found[id] = asElement(id, byID[id])
		}
		return found, nil
	}
	s := sorter{batch: b, whole: a, found: found, twice: make(map[string]bool)}
	if err := s.sort(all); err != nil {
		return nil, err
	}
	for id := range s.twice {
		found[id] = nil
	}
	return found, nil
}

func (b *batch) all(whole *view) (any, error) {
	if b.elements == nil {
		return whole.body, nil
	}
	return b.elements.eval(whole)
}

// asElement makes an element of what stands where one is expected: a bare word is
// the state of the job.
func asElement(id string, v any) any {
	if text, ok := scalarText(v); ok {
		return map[string]any{"id": id, "state": text}
	}
	return v
}

// A sorter finds out whose the elements of a list are.
type sorter struct {
	*batch
	whole Answer
	found map[string]any // by the ids that were asked for
	twice map[string]bool
	seen  int
}

func (s *sorter) sort(all any) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	if byState, ok := all.(map[string]any); ok && s.keyed == keyedByState {
		for _, state := range slices.Sorted(maps.Keys(byState)) {
			if err := s.list(ctx, byState[state], state); err != nil {
				return err
			}
		}
		return nil
	}
	if s.keyed != "" {
		return nil
	}
	return s.list(ctx, all, "")
}

// list goes through a list, whose elements are all in a state if one is given. XML
// has no lists of one.
func (s *sorter) list(ctx context.Context, v any, state string) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	for _, element := range list {
		if s.seen++; s.seen > maxElements {
			return fmt.Errorf("batch: more than %d elements", maxElements)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("batch: %w", errCut)
		}
		if err := s.add(element, state); err != nil {
			return err
		}
	}
	return nil
}

func (s *sorter) add(element any, state string) error {
	id, err := s.idOf(element)
	if err != nil {
		return err
	}
	before, asked := s.found[id]
	switch {
	case !asked:
		return nil
	case before != nil:
		s.twice[id] = true
	case state != "":
		element = inState(id, element, state)
	}
	s.found[id] = element
	return nil
}

func (s *sorter) idOf(element any) (string, error) {
	if id, ok := scalarText(element); ok {
		return id, nil
	}
	v := elementView(s.whole, element)
	if s.id == nil {
		return autoID(v).value, nil
	}
	return s.id.text(v)
}

// inState adds the state that an element stands under, unless it tells one itself.
func inState(id string, element any, state string) any {
	object, ok := element.(map[string]any)
	if !ok {
		return map[string]any{"id": id, "state": state}
	}
	if _, told := object["state"]; told {
		return object
	}
	object = maps.Clone(object)
	object["state"] = state
	return object
}

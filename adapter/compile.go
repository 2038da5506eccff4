package adapter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A Job is a compiled Spec: it knows how to speak one job API. It does not change
// and may be used by any number of goroutines.
type Job struct {
	route Route
	match pattern
	hosts hosts

	refused   *expr
	final     *expr
	params    []param
	jobID     *expr
	statusURL *expr
	nextURL   *expr
	status    endpoint
	cancel    *endpoint
	cancels   *canceling // nil if clients' cancels cannot be recognized
	lookup    *lookup    // nil if a job cannot be found by its key
	then      *hop

	state    stateReader
	progress progressReader
	message  *expr
	result   resultReader
	failure  *expr

	batch    *batch    // nil if jobs are asked for one by one
	longPoll *longPoll // nil if the backend does not wait

	readsBody    bool // some expression about a status answer uses its body
	readsRequest bool
	mark         string // of the spec, to tell whether it has changed
}

// Compile checks a Spec and makes it usable. Its errors are of type *SpecError.
func Compile(s Spec, o Options) (*Job, error) {
	c := compiler{spec: s, job: &Job{mark: markOf(s)}}
	for _, step := range []func() error{c.submit, c.parameters, c.endpoints, c.identity, c.state, c.progress, c.texts, c.result, c.canceling, c.then, c.batch, c.wait} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := c.lookup(o); err != nil {
		return nil, err
	}
	var err error
	if c.job.hosts, err = compileHosts(o); err != nil {
		return nil, err
	}
	if c.job.then != nil {
		c.job.then.job.hosts = c.job.hosts
	}
	return c.job, nil
}

// A compiler collects the parts of a Job. Each step compiles one part of the Spec;
// submit comes first, because the others use what it captures.
type compiler struct {
	spec Spec
	job  *Job
	told []string // names of params that come from answers, not from the path
}

// markOf tells one spec from another.
func markOf(s Spec) string {
	sum := fnv.New32a()
	_ = json.NewEncoder(sum).Encode(s) // texts, lists and maps of them; a hash takes everything
	return strconv.FormatUint(uint64(sum.Sum32()), 36)
}

// MatchSubmit reports whether a request starts a job of this kind, and the values
// of the route's captures. The path is the escaped one.
func (j *Job) MatchSubmit(method, escapedPath string) (params map[string]string, ok bool) {
	return j.match.match(method, escapedPath)
}

// Route is the compiled route, with its default filled in.
func (j *Job) Route() Route { return j.route }

// ReadsRequest reports whether the submit's body has to be kept, because an
// expression reads it.
func (j *Job) ReadsRequest() bool { return j.readsRequest }

func (r Route) withDefault() Route {
	r.Method = cmp.Or(r.Method, http.MethodPost)
	return r
}

func (c *compiler) submit() error {
	route := c.spec.Submit.withDefault()
	if route.Path == "" {
		return specErr("submit", "is missing: write the request that starts a job, such as submit POST /reports/generate")
	}
	if err := checkMethod("submit", route.Method); err != nil {
		return err
	}
	match, err := compileRoute(route)
	if err != nil {
		return &SpecError{Field: "submit", Err: err}
	}
	c.job.route, c.job.match = route, match
	if c.job.refused, err = c.submitCondition("submit refused when", route.RefusedWhen); err != nil {
		return err
	}
	c.job.final, err = c.submitCondition("submit final when", route.FinalWhen)
	return err
}

func (c *compiler) submitCondition(field, src string) (*expr, error) {
	if src == "" {
		return nil, nil
	}
	e, err := compileCondition(field, src)
	if err != nil {
		return nil, err
	}
	return e, c.note(field, e)
}

func (c *compiler) endpoints() error {
	status, err := c.endpoint("status", cmp.Or(c.spec.Status, &Endpoint{}), http.MethodGet)
	if err != nil {
		return err
	}
	if err := c.needsJobID("status", status); err != nil && c.spec.StatusURL == "" {
		return err
	}
	c.job.status = *status
	return c.cancel()
}

func (c *compiler) cancel() (err error) {
	if c.spec.Cancel == nil {
		return nil
	}
	if c.job.cancel, err = c.endpoint("cancel", c.spec.Cancel, http.MethodDelete); err != nil {
		return err
	}
	return c.needsJobID("cancel", c.job.cancel)
}

// needsJobID refuses a request that is the same for every job. What tells jobs apart
// is the id, or something else that their own answers told.
func (c *compiler) needsJobID(field string, e *endpoint) error {
	t := e.target
	tells := func(name string) bool {
		return name == jobIDCapture || slices.Contains(c.told, strings.TrimPrefix(name, paramsPrefix))
	}
	if t == nil || slices.ContainsFunc(t.captures(), tells) || slices.ContainsFunc(e.body.captures(), tells) {
		return nil
	}
	return specErr(field, "%q does not contain {job_id}, so it would be the same for every job: write it where the id goes", t.src)
}

func (c *compiler) checkCaptures(field string, t *template) error {
	for _, name := range t.captures() {
		param, isParam := strings.CutPrefix(name, paramsPrefix)
		if name == keyCapture && field != "lookup" && !strings.HasPrefix(field, "lookup ") {
			return specErr(field, "{%s} is known in a lookup alone", name)
		}
		if isParam && !c.captures(param) {
			return specErr(field, "{%s} is not captured: write {params.%s} for a segment of submit %s, or param %s <expression>", name, param, c.job.route.Path, param)
		}
		if t.whole && !slices.Contains(c.told, param) {
			return specErr(field, "%q is a part of the path, not a URL: write the path around it", t.src)
		}
	}
	return nil
}

// captures reports whether there is a parameter of that name.
func (c *compiler) captures(param string) bool {
	return slices.Contains(c.job.match.params(), param) || slices.Contains(c.told, param)
}

// identity compiles what is read in the answer to the submit.
func (c *compiler) identity() (err error) {
	if c.job.jobID, err = c.submitExpr("job_id", c.spec.JobID); err != nil {
		return err
	}
	if c.job.statusURL, err = c.submitExpr("status_url", c.spec.StatusURL); err != nil {
		return err
	}
	c.job.nextURL, err = c.statusExpr("next_url", c.spec.NextURL)
	return err
}

func (c *compiler) submitExpr(field, src string) (*expr, error) {
	e, err := compileExpr(field, src)
	if err != nil {
		return nil, err
	}
	return e, c.note(field, e)
}

// statusExpr compiles an expression about a status answer.
func (c *compiler) statusExpr(field, src string) (*expr, error) {
	e, err := compileExpr(field, src)
	if err != nil {
		return nil, err
	}
	c.job.readsBody = c.job.readsBody || e.uses(varBody)
	return e, c.note(field, e)
}

// note records what an expression needs and refuses params that do not exist.
func (c *compiler) note(field string, e *expr) error {
	if e == nil {
		return nil
	}
	c.job.readsRequest = c.job.readsRequest || e.uses(varRequest)
	if e.path == nil || e.path.root != varParams || len(e.path.steps) == 0 {
		return nil
	}
	name := fmt.Sprint(e.path.steps[0])
	if !c.captures(name) {
		return specErr(field, "%q: there is no such parameter: write {params.<name>} for a segment of submit %s, or param %s <expression>", e.src, c.job.route.Path, name)
	}
	return nil
}

func (c *compiler) texts() (err error) {
	if c.job.message, err = c.statusExpr("message", c.spec.Message); err != nil {
		return err
	}
	c.job.failure, err = c.statusExpr("error", c.spec.Error)
	return err
}

package adapter

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Job is a compiled Spec: it knows how to speak one job API. It does not change
// and may be used by any number of goroutines.
type Job struct {
	route Route
	match pattern
	hosts hosts

	jobID     *expr
	statusURL *expr
	status    endpoint
	cancel    *endpoint

	state    stateReader
	progress progressReader
	message  *expr
	result   resultReader
	failure  *expr

	readsBody    bool // some expression about a status answer uses its body
	readsRequest bool
}

// Compile checks a Spec and makes it usable. Its errors are of type *SpecError.
func Compile(s Spec, o Options) (*Job, error) {
	c := compiler{spec: s, job: &Job{}}
	for _, step := range []func() error{c.submit, c.endpoints, c.identity, c.state, c.progress, c.texts, c.result} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	var err error
	if c.job.hosts, err = compileHosts(o); err != nil {
		return nil, err
	}
	return c.job, nil
}

// A compiler collects the parts of a Job. Each step compiles one part of the Spec;
// submit comes first, because the others use what it captures.
type compiler struct {
	spec Spec
	job  *Job
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
	return nil
}

// An endpoint is a compiled Endpoint. Its target is nil if the URL comes from
// elsewhere.
type endpoint struct {
	method string
	target *template
	header []headerLine
}

type headerLine struct {
	name  string
	value *template
}

func (c *compiler) endpoints() error {
	status, err := c.endpoint("status", cmp.Or(c.spec.Status, &Endpoint{}), http.MethodGet)
	if err != nil {
		return err
	}
	if err := needsJobID("status", status.target); err != nil && c.spec.StatusURL == "" {
		return err
	}
	c.job.status = *status
	if c.spec.Cancel == nil {
		return nil
	}
	if c.job.cancel, err = c.endpoint("cancel", c.spec.Cancel, http.MethodDelete); err != nil {
		return err
	}
	return needsJobID("cancel", c.job.cancel.target)
}

// needsJobID refuses a target that is the same for every job.
func needsJobID(field string, t *template) error {
	if t == nil || slices.Contains(t.captures(), jobIDCapture) {
		return nil
	}
	return specErr(field, "%q does not contain {job_id}, so it would be the same for every job: write it where the id goes", t.src)
}

func (c *compiler) endpoint(field string, e *Endpoint, method string) (*endpoint, error) {
	compiled := endpoint{method: cmp.Or(e.Method, method)}
	if err := checkMethod(field, compiled.method); err != nil {
		return nil, err
	}
	if e.Target != "" {
		target, err := parseTarget(e.Target)
		if err != nil {
			return nil, &SpecError{Field: field, Err: err}
		}
		if err := c.checkCaptures(field, target); err != nil {
			return nil, err
		}
		compiled.target = target
	}
	for _, name := range slices.Sorted(maps.Keys(e.Header)) {
		for _, value := range e.Header[name] {
			line, err := c.headerLine(field, name, value)
			if err != nil {
				return nil, err
			}
			compiled.header = append(compiled.header, line)
		}
	}
	return &compiled, nil
}

func (c *compiler) headerLine(of, name, value string) (headerLine, error) {
	field := of + " header " + name
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !isToken(name):
		return headerLine{}, specErr(of+" header", "%q is not a header's name", name)
	case slices.Contains(ownHeaders, canonical):
		return headerLine{}, specErr(field, "is set by the proxy itself: leave it out")
	case strings.ContainsFunc(value, unicode.IsControl):
		return headerLine{}, specErr(field, "its value contains a control character")
	}
	// The value may be a secret: the error names the placeholder and no more.
	if name := caddyPlaceholder(value); name != "" {
		return headerLine{}, specErr(field, "{%s} was not replaced: only {env.<name>}, {file.<path>} and the like that are known when the config is loaded can be used, besides {job_id} and {params.<name>}", name)
	}
	line := headerLine{name: canonical, value: parseHeaderValue(value)}
	return line, c.checkCaptures(field, line.value)
}

// ownHeaders frame the message or say where it goes.
var ownHeaders = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te", "Keep-Alive"}

// caddyPlaceholder finds a placeholder that only Caddy could have replaced.
func caddyPlaceholder(value string) string {
	for _, namespace := range []string{"http.", "env.", "file.", "vars.", "system.", "time."} {
		if _, rest, ok := strings.Cut(value, "{"+namespace); ok {
			if name, _, ok := strings.Cut(rest, "}"); ok {
				return namespace + name
			}
		}
	}
	return ""
}

func (c *compiler) checkCaptures(field string, t *template) error {
	known := c.job.match.params()
	for _, name := range t.captures() {
		param, isParam := strings.CutPrefix(name, paramsPrefix)
		if isParam && !slices.Contains(known, param) {
			return specErr(field, "{%s} is not captured: write {params.%s} for a segment of submit %s", name, param, c.job.route.Path)
		}
	}
	return nil
}

func checkMethod(field, method string) error {
	if !isToken(method) || method != strings.ToUpper(method) {
		return specErr(field, "%q is not an HTTP method: write GET, POST or another in capitals", method)
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// identity compiles what is read in the answer to the submit.
func (c *compiler) identity() (err error) {
	if c.job.jobID, err = c.submitExpr("job_id", c.spec.JobID); err != nil {
		return err
	}
	c.job.statusURL, err = c.submitExpr("status_url", c.spec.StatusURL)
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
	if !slices.Contains(c.job.match.params(), name) {
		return specErr(field, "%q: there is no such parameter: write {params.<name>} for a segment of submit %s", e.src, c.job.route.Path)
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

// statusNames are the words of the config for what a state can mean.
var statusNames = []struct {
	name   string
	status intent.Status
}{
	{"in_progress", intent.InProgress},
	{"completed", intent.Completed},
	{"failed", intent.Failed},
	{"canceled", intent.Canceled},
	{"timed_out", intent.TimedOut},
}

// StatusNames lists the statuses that a job's state can mean, as config writes them.
func StatusNames() []string {
	var names []string
	for _, s := range statusNames {
		names = append(names, s.name)
	}
	return names
}

func statusNamed(field, name string) (intent.Status, error) {
	for _, s := range statusNames {
		if s.name == name {
			return s.status, nil
		}
	}
	return "", specErr(field, "%q is not a status: write one of %s", name, strings.Join(StatusNames(), ", "))
}

package adapter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"slices"
	"strconv"
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

// An endpoint is a compiled Endpoint. Its target is nil if the URL comes from
// elsewhere.
type endpoint struct {
	method string
	target *template
	header []headerLine
	body   *template
	accept []int
	over   []int
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

func (c *compiler) endpoint(field string, e *Endpoint, method string) (*endpoint, error) {
	if e.Body != "" {
		method = http.MethodPost
	}
	compiled := endpoint{method: cmp.Or(e.Method, method), accept: e.Accept, over: e.Over}
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
	if err := checkCodes(field, e); err != nil {
		return nil, err
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
	return &compiled, c.body(field, e, &compiled)
}

// checkCodes checks what only a cancel has.
func checkCodes(field string, e *Endpoint) error {
	for _, list := range []struct {
		word  string
		codes []int
	}{{"accept", e.Accept}, {"over", e.Over}} {
		for _, code := range list.codes {
			switch {
			case !strings.HasSuffix(field, "cancel"):
				return specErr(field+" "+list.word, "is for cancel alone: leave it out")
			case code < 200 || code > 599:
				return specErr(field+" "+list.word, "%d is not the code of an answer: write one from 200 to 599", code)
			case list.word == "over" && slices.Contains(e.Accept, code):
				return specErr(field+" over", "%d is in accept already: a code has one meaning", code)
			}
		}
	}
	return nil
}

func (c *compiler) body(field string, e *Endpoint, compiled *endpoint) error {
	if e.Body == "" {
		return nil
	}
	field += " body"
	if err := checkPlaceholders(field, e.Body); err != nil {
		return err
	}
	media := mediaTypeOf(e.Header)
	body, err := parseBody(e.Body, media)
	if err != nil {
		return &SpecError{Field: field, Err: err}
	}
	compiled.body = body
	if media == "" {
		compiled.header = append(compiled.header, headerLine{name: "Content-Type", value: parseHeaderValue(jsonType)})
	}
	return c.checkCaptures(field, body)
}

// mediaTypeOf is the Content-Type that an operator wrote, without parameters.
func mediaTypeOf(header http.Header) string {
	for name, values := range header {
		if strings.EqualFold(name, "Content-Type") && len(values) > 0 {
			media, _, _ := strings.Cut(values[0], ";")
			return strings.ToLower(strings.TrimSpace(media))
		}
	}
	return ""
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
	if name := caddyPlaceholder(value); name != "" { // the value may be a secret
		return headerLine{}, specErr(field, "{%s} was not replaced: only {env.<name>}, {file.<path>} and the like that are known when the config is loaded can be used, besides {job_id} and {params.<name>}", name)
	}
	line := headerLine{name: canonical, value: parseHeaderValue(value)}
	return line, c.checkCaptures(field, line.value)
}

// ownHeaders frame the message or say where it goes.
var ownHeaders = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te", "Keep-Alive"}

// checkPlaceholders refuses in a body what is replaced in headers only.
func checkPlaceholders(field, body string) error {
	if name := caddyPlaceholder(body); name != "" {
		return specErr(field, "{%s} is not replaced in a body: send it in a header, such as header Authorization {%s}, or write {$NAME} for what the environment has when the Caddyfile is read", name, name)
	}
	return nil
}

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

// ruleOutcomes are the words of rules for answers that tell no state.
var ruleOutcomes = map[string]Outcome{"retry": Unavailable, "gone": Gone}

// RuleNames lists what a rule can say: a status, or that the answer tells none.
func RuleNames() []string {
	return append(StatusNames(), slices.Sorted(maps.Keys(ruleOutcomes))...)
}

func statusNamed(field, name string) (intent.Status, error) {
	for _, s := range statusNames {
		if s.name == name {
			return s.status, nil
		}
	}
	return "", specErr(field, "%q is not a status: write one of %s", name, strings.Join(StatusNames(), ", "))
}

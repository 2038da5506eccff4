package adapter

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Submitted is the request that an answer to a submit answers.
type Submitted struct {
	Params map[string]string // from MatchSubmit
	Body   []byte            // nil if it was not captured
	Host   string
	Scheme string
	Path   string // escaped
}

// A SubmitReading is what the answer to a submit said.
type SubmitReading struct {
	Delivery   intent.Delivery
	Reading    *intent.Reading // if the answer says that the job waits or runs; how it ended only if `final when` holds
	RetryAfter time.Duration   // 0 if not told; else within MinRetryAfter and MaxRetryAfter
	Memory     string          // to be kept as Intent.Memory
	Pin        []string        // config lines that write down what auto inferred; nil if it inferred nothing
	Refused    string          // a URL of the backend that was refused, fit for a log; the template was used instead
}

// A NoJobError says that an answer to a submit names no job that could be polled.
// The answer is the client's business alone then.
type NoJobError struct {
	Code    int
	Why     string
	Keys    []string // names of the fields that the answer has at its top
	Refused string   // the URL of the backend that was refused, fit for a log
	Denied  bool     // `refused when` holds: nothing is missing in the spec
}

func (e *NoJobError) Error() string {
	return fmt.Sprintf("no job in the answer %d: %s", e.Code, e.Why)
}

// ReadSubmit reads the answer to a submit. Its errors are of type *NoJobError.
func (j *Job) ReadSubmit(s Submitted, a Answer) (SubmitReading, error) {
	v := &view{Answer: a, params: s.Params, asked: s.Body, captured: s.Body != nil}
	r := submission{job: j, view: v, from: origin{host: s.Host, scheme: s.Scheme, path: s.Path}}
	if !j.MayNameJob(a) {
		return SubmitReading{}, r.none("the code is not that of a job")
	}
	if err := r.readRefusal(); err != nil {
		return SubmitReading{}, err
	}
	r.out.RetryAfter = a.retryAfter()
	err := r.readParams(s.Params)
	for _, step := range []func() error{r.readIdentity, r.readStatusURL} {
		if err == nil {
			err = step()
		}
	}
	if r.readFinal() {
		return r.out, nil
	}
	if err != nil {
		return SubmitReading{}, err
	}
	r.readState()
	return r.out, nil
}

// readRefusal ends the reading of an answer that is a refusal. One that costs too
// much to tell is none: there may be a job.
func (r *submission) readRefusal() error {
	if refused, _ := r.job.refused.holds(r.view); refused {
		none := r.none("refused when " + r.job.refused.src)
		none.Denied = true
		return none
	}
	return nil
}

func (r *submission) readParams(path map[string]string) error {
	params, err := capture(r.job.params, r.view, path)
	if err != nil {
		return r.none(err.Error())
	}
	r.out.Delivery.Params, r.view.params = params, params
	return nil
}

// readFinal reads an answer that is the final status answer already as one. It needs
// neither an id nor a status URL: nobody is going to ask.
func (r *submission) readFinal() bool {
	if final, err := r.job.final.holds(r.view); err != nil || !final {
		return false
	}
	in := &intent.Intent{Delivery: r.out.Delivery}
	in.Host, in.Scheme = r.from.host, r.from.scheme
	if in.StatusURL == "" {
		in.StatusURL = r.from.path // what a relative URL in the answer is relative to
	}
	m := memory{Done: true}
	r.view.final = true
	p := PollReading{}
	said, err := r.job.pollVerdict(in, r.view, &m, &p)
	if err == nil && p.Outcome == 0 {
		err = r.job.report(in, r.view, said, &p)
	}
	if err != nil || p.Outcome != Readable || !p.Reading.Status.Terminal() {
		return false
	}
	r.out.Reading, r.out.Pin, r.out.Memory = &p.Reading, nil, ""
	return true
}

// MayNameJob tells from the head of an answer to a submit whether its body has to
// be read: any other answer names no job. A 303 is how UWS answers a submit; a 204 or
// a redirect can be a job's where an operator wrote an expression for the id that
// needs no body.
func (j *Job) MayNameJob(a Answer) bool {
	bodiless := j.jobID != nil && !j.jobID.uses(varBody) && !j.jobID.uses(varText)
	switch a.Code {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNonAuthoritativeInfo:
		return true
	case http.StatusNoContent:
		return bodiless || j.final != nil
	case http.StatusFound:
		return bodiless && j.jobID.uses(varHeaders)
	case http.StatusSeeOther:
		return a.Header.Get("Location") != "" && (j.jobID == nil || bodiless)
	}
	return false
}

// A submission is the reading of one answer to a submit, under way.
type submission struct {
	job  *Job
	view *view
	from origin
	out  SubmitReading

	named   found  // the status URL that auto found
	target  string // path and query of it
	refused string // the first one that was not accepted
}

func (r *submission) none(why string) *NoJobError {
	e := &NoJobError{Code: r.view.Code, Why: why, Refused: cmp.Or(r.out.Refused, r.refused)}
	if r.view.decode().structured() {
		if object, ok := r.view.body.(map[string]any); ok {
			e.Keys = keysOf(object)
		}
	}
	return e
}

// keysOf lists the names of fields, as many and as long as a log line can bear.
func keysOf(fields map[string]any) []string {
	keys := slices.Sorted(maps.Keys(fields))
	keys = keys[:min(len(keys), 20)]
	for i, key := range keys {
		keys[i] = strings.ToValidUTF8(clip(key, 64), "")
	}
	return keys
}

// readIdentity finds the job's id. Auto looks into the body first, and takes the
// last segment of a status URL in a header if there is nothing.
func (r *submission) readIdentity() error {
	r.findStatusURL()
	switch {
	case r.job.jobID != nil:
		value, err := r.job.jobID.eval(r.view)
		if err != nil {
			return r.none(err.Error())
		}
		id, ok := scalarText(value)
		if _, truth := value.(bool); !ok || truth || id == "" {
			return r.none(fmt.Sprintf("job_id %s is not in it", r.job.jobID.src))
		}
		r.out.Delivery.JobID = id
	default:
		id := autoID(r.view)
		if id.value == "" && r.named.header {
			id.value = lastSegment(r.target)
		}
		if id.value == "" {
			return r.none("auto found no job id: write job_id with an expression such as body.id")
		}
		r.out.Delivery.JobID = id.value
		r.pin("job_id", id.expr)
	}
	if err := checkValue(r.out.Delivery.JobID); err != nil {
		return r.none("the job id " + err.Error())
	}
	return nil
}

func (r *submission) pin(word, expr string) {
	if expr != "" {
		r.out.Pin = append(r.out.Pin, word+" "+expr)
	}
}

// findStatusURL looks for a URL that auto can use, also if only for the id in it.
func (r *submission) findStatusURL() {
	for candidate := range autoStatusURLs(r.view) {
		target, err := r.job.hosts.accept(candidate.value, r.from)
		if err == nil {
			r.named, r.target = candidate, target
			return
		}
		r.refused = cmp.Or(r.refused, redact(candidate.value))
	}
}

// readStatusURL settles where to poll: what the operator wrote, else what the
// backend named.
func (r *submission) readStatusURL() error {
	if r.job.statusURL != nil {
		if told, err := r.toldStatusURL(); err != nil || told {
			return err
		}
	}
	if t := r.job.status.target; t != nil {
		target, err := t.expandTarget(captured{jobID: r.out.Delivery.JobID, params: r.out.Delivery.Params})
		if err != nil {
			return r.none("the status URL cannot be made: " + err.Error())
		}
		r.out.Delivery.StatusURL = target
		return nil
	}
	if r.target == "" || r.job.statusURL != nil {
		return r.none("it names no status URL that can be used: write status GET <path with {job_id}>, or status_url <expression>")
	}
	r.out.Delivery.StatusURL = r.target
	if r.named.header {
		r.namedByHeader()
	}
	r.out.Pin = append(r.out.Pin, r.pinStatus())
	return nil
}

// toldStatusURL uses the status_url expression, if its URL can be used.
func (r *submission) toldStatusURL() (bool, error) {
	told, err := r.job.statusURL.text(r.view)
	if err != nil {
		return false, r.none(err.Error())
	}
	if told == "" {
		return false, nil
	}
	target, err := r.job.hosts.accept(told, r.from)
	if err != nil {
		r.out.Refused = redact(told)
		return false, nil
	}
	r.out.Delivery.StatusURL = target
	if e := r.job.statusURL; e.uses(varHeaders) && !e.uses(varBody) && !e.uses(varText) {
		r.namedByHeader()
	}
	return true, nil
}

// namedByHeader notes what a status URL in a header means for polls: see codeTells.
func (r *submission) namedByHeader() {
	if r.view.Code == http.StatusAccepted || r.view.Code == http.StatusSeeOther {
		r.out.Memory = memory{Done: true}.text()
	}
}

// pinStatus writes the status URL as a template if the id can be found in it.
func (r *submission) pinStatus() string {
	path, query, hasQuery := strings.Cut(r.target, "?")
	segments := strings.Split(path, "/")
	for i, segment := range slices.Backward(segments) {
		if id, err := url.PathUnescape(segment); err == nil && id == r.out.Delivery.JobID {
			segments[i] = "{job_id}"
			if template := strings.Join(segments, "/"); !hasQuery {
				return "status GET " + template
			} else if !strings.ContainsAny(query, "{}") && isPlainQuery(query) {
				return "status GET " + template + "?" + query
			}
			break
		}
	}
	return "status_url " + r.named.expr
}

// isPlainQuery tells whether a query can be shown: anything but short parameters
// such as view=MINIMAL may be a key.
func isPlainQuery(query string) bool {
	return len(query) <= 32 && !strings.ContainsAny(strings.ToLower(query), "%+/") &&
		!slices.ContainsFunc([]string{"sig", "code", "key", "token", "auth", "secret"}, func(s string) bool {
			return strings.Contains(strings.ToLower(query), s)
		})
}

func lastSegment(target string) string {
	path, _, _ := strings.Cut(target, "?")
	path = strings.TrimRight(path, "/")
	id, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		return ""
	}
	return id
}

// readState takes over what the answer says about a job that waits or runs. That a
// job has ended is never taken from here: "status": "success" means to many APIs
// that the submit succeeded, and the first poll comes soon.
func (r *submission) readState() {
	if r.view.Code == http.StatusSeeOther || !r.view.decode().structured() {
		return
	}
	said, expr := r.job.state.submitted(r.view)
	if r.job.state.auto {
		r.pin("state", expr)
	}
	if said != intent.InProgress {
		return
	}
	progress, err := r.job.progress.read(r.view)
	if err != nil {
		return
	}
	message, err := r.job.readMessage(r.view)
	if err != nil {
		return
	}
	r.out.Reading = &intent.Reading{Status: said, Progress: progress, Message: message}
}

package adapter

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Request is one to be sent to the backend.
type Request struct {
	Method string
	URL    string      // path and query
	Header http.Header // the Spec's own, to be set over those that every request carries
	Body   []byte
}

// request fills in an endpoint for one job. Without a target of its own it goes to
// the URL given.
func (e *endpoint) request(what string, in *intent.Intent, target string) (Request, error) {
	values := captured{jobID: in.JobID, params: in.Params}
	var err error
	if e.target != nil {
		if target, err = e.target.expandTarget(values); err != nil {
			return Request{}, fmt.Errorf("making the %s request: %w", what, err)
		}
	}
	if target == "" {
		return Request{}, fmt.Errorf("making the %s request: %w", what, errNoURL)
	}
	r := Request{Method: e.method, URL: target, Header: make(http.Header, len(e.header))}
	for _, line := range e.header {
		value, err := line.value.expand(values)
		if err != nil {
			return Request{}, fmt.Errorf("making the %s request: header %s: %w", what, line.name, err)
		}
		r.Header.Add(line.name, value)
	}
	return r, nil
}

var errNoURL = errors.New("its URL is not known")

// PollRequest is the request that asks for the state of the intent's job: the
// frozen URL, with method and headers from the config as it is now.
func (j *Job) PollRequest(in *intent.Intent) (Request, error) {
	frozen := endpoint{method: j.status.method, header: j.status.header}
	return frozen.request("status", in, in.StatusURL)
}

// An Outcome says what became of a poll.
type Outcome uint8

const (
	Readable    Outcome = iota + 1 // the answer told the job's state
	Unreadable                     // the backend answered something that tells no state
	Unavailable                    // the backend could not answer: 429, 5xx
)

func (o Outcome) String() string { return [...]string{"", "readable", "unreadable", "unavailable"}[o] }

// A PollReading is what the answer to a poll said.
type PollReading struct {
	Outcome    Outcome
	Reading    intent.Reading // if Readable
	Reason     string         // why not, if not Readable; short and without payload
	Lost       bool           // the backend says that there is no such job
	RetryAfter time.Duration  // 0 if not told; else within MinRetryAfter and MaxRetryAfter
	Memory     string         // to be kept as Intent.Memory
	Fetch      *Request       // the result, to be fetched before the end is told
}

// ReadPoll reads the answer to a poll. Rules come first, for they may be about
// codes that otherwise say nothing about the job; then the code; then the body.
func (j *Job) ReadPoll(in *intent.Intent, a Answer) PollReading {
	p := PollReading{RetryAfter: a.retryAfter(), Memory: in.Memory}
	v := &view{Answer: a, params: in.Params, asked: in.Request, captured: in.Captured}
	said, err := j.pollVerdict(v, &p)
	if err == nil && p.Outcome == 0 {
		err = j.report(in, v, said, &p)
	}
	if err != nil {
		p.Outcome, p.Reason, p.Reading, p.Fetch = Unreadable, err.Error(), intent.Reading{}, nil
	}
	return p
}

// pollVerdict finds out what the answer says about the state, or why it says
// nothing: then the outcome is set.
func (j *Job) pollVerdict(v *view, p *PollReading) (verdict, error) {
	said, err := j.state.firstRule(v)
	if err != nil || said.settled {
		return said, err
	}
	p.Outcome, p.Reason, p.Lost = byCode(v.Code)
	if p.Outcome != 0 {
		return j.redirected(v, p), nil
	}
	if p.Reason = j.bodyProblem(v, p.Memory); p.Reason != "" {
		p.Outcome = Unreadable
		return said, nil
	}
	if j.state.auto && v.Code == http.StatusAccepted {
		p.Memory = remembered
	}
	if said, err = j.state.read(v); err != nil || !j.state.auto || said.settled || said.unknown != "" {
		return said, err
	}
	return p.wordless(v), nil
}

// byCode sorts out the codes that carry no state.
func byCode(code int) (o Outcome, reason string, lost bool) {
	switch {
	case code >= 200 && code < 300:
		return 0, "", false
	case code == http.StatusTooManyRequests, code >= 500:
		return Unavailable, strconv.Itoa(code), false
	}
	return Unreadable, strconv.Itoa(code), code == http.StatusNotFound || code == http.StatusGone
}

// redirected takes a 303 for what it is where nothing else was written: the job is
// done, and its result is over there.
func (j *Job) redirected(v *view, p *PollReading) verdict {
	if !j.state.auto || v.Code != http.StatusSeeOther || v.Header.Get("Location") == "" {
		return verdict{}
	}
	p.Outcome, p.Reason = 0, ""
	return verdict{status: intent.Completed, settled: true}
}

// bodyProblem tells why a 2xx cannot be read, "" if it can.
func (j *Job) bodyProblem(v *view, memory string) string {
	told := false
	switch v.decode() {
	case emptyBody:
		told = j.state.needsNoBody() || j.state.auto && codeTells(v.Code, memory)
	case opaqueBody:
		told = !v.Cut && (!j.readsBody || j.state.auto && v.Code == http.StatusAccepted && v.problem != htmlProblem)
	default:
		told = true
	}
	if told {
		return ""
	}
	return v.problem
}

// codeTells reports whether auto can do without a body.
func codeTells(code int, memory string) bool {
	switch code {
	case http.StatusAccepted:
		return true
	case http.StatusOK, http.StatusNoContent:
		return memory == remembered
	}
	return false
}

// remembered is what Memory holds when a 200 that tells no state means that the
// job is done: a 202 named its status URL in a header, or an earlier poll was
// answered 202. Else a 200 means nothing: most APIs answer every poll with it, and
// the Location of a 201 is that of a resource.
const remembered = "200 is done"

// wordless decides by the code where auto found no word.
func (p *PollReading) wordless(v *view) verdict {
	null := v.decode() == jsonBody && v.body == nil
	if v.Code == http.StatusAccepted || !codeTells(v.Code, p.Memory) || null {
		return verdict{status: intent.InProgress}
	}
	if done := autoProgress(v); done != nil && *done < 100 {
		return verdict{status: intent.InProgress}
	}
	if v.decode() == jsonBody && autoFailed(v.body) {
		return verdict{status: intent.Failed, settled: true}
	}
	return verdict{status: intent.Completed, settled: true}
}

// report makes the reading of a verdict.
func (j *Job) report(in *intent.Intent, v *view, said verdict, p *PollReading) error {
	p.Outcome, p.Reason = Readable, ""
	r := &p.Reading
	r.Status, r.UnknownState = said.status, said.unknown
	var err error
	if r.Progress, err = j.progress.read(v); err != nil {
		return err
	}
	if r.Message, err = j.readMessage(v); err != nil {
		return err
	}
	switch r.Status {
	case intent.InProgress:
	case intent.Completed:
		if v.Code == http.StatusSeeOther {
			r.ResultURL = seeOther(in, v)
		}
		p.Fetch, err = j.readResult(in, v, r)
	default:
		r.Error, err = j.readError(v, r.Status)
	}
	return err
}

// seeOther is the Location of a 303, made absolute as far as it goes.
func seeOther(in *intent.Intent, v *view) string {
	location := v.Header.Get("Location")
	if isResultURL(location) {
		return location
	}
	resolved, err := hosts(nil).accept(location, originOf(in))
	if err != nil {
		return ""
	}
	return in.ClientURL(resolved)
}

func originOf(in *intent.Intent) origin {
	path, _, _ := strings.Cut(in.StatusURL, "?")
	return origin{host: in.Host, scheme: in.Scheme, path: path}
}

func (j *Job) readMessage(v *view) (string, error) {
	if j.message == nil {
		return autoMessage(v), nil
	}
	return j.message.text(v)
}

func (j *Job) readError(v *view, status intent.Status) (*intent.Error, error) {
	value := any(nil)
	if j.failure == nil {
		value = autoError(v)
	} else {
		var err error
		if value, err = j.failure.eval(v); err != nil {
			return nil, err
		}
	}
	return backendError(value, status), nil
}

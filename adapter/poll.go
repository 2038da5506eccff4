package adapter

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// PollRequest is the request that asks for the state of the intent's job: the
// frozen URL, or the one that an answer named since, with method, headers and body
// from the config as it is now.
func (j *Job) PollRequest(in *intent.Intent) (Request, error) {
	s := j.stageOf(in)
	frozen := s.job.status
	frozen.target = nil
	r, err := frozen.request("status", s.in, s.job.hosts, s.url())
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	if err == nil && safe && s.memory.ETag != "" && s.memory.Spec == j.mark && r.Header["If-None-Match"] == nil {
		r.Header.Set("If-None-Match", s.memory.ETag)
	}
	return r, err
}

// An Outcome says what became of a poll.
type Outcome uint8

const (
	Readable    Outcome = iota + 1 // the answer told the job's state
	Unreadable                     // the backend answered something that tells no state
	Unavailable                    // the backend could not answer: 429, 5xx, or a rule says retry
	Missing                        // the backend does not know the job, perhaps not yet or only for now
	Gone                           // the backend does not know the job, and will not
)

func (o Outcome) String() string {
	return [...]string{"", "readable", "unreadable", "unavailable", "missing", "gone"}[o]
}

// A PollReading is what the answer to a poll said.
type PollReading struct {
	Outcome    Outcome
	Reading    intent.Reading // if Readable
	Reason     string         // why not, if not Readable; short and without payload
	Refused    string         // a URL of the backend that was refused, fit for a log
	RetryAfter time.Duration  // 0 if not told; else within MinRetryAfter and MaxRetryAfter
	Memory     string         // to be kept as Intent.Memory
	Fetch      *Request       // the result, to be fetched before the end is told
}

// ReadPoll reads the answer to a poll. Rules come first, for they may be about
// codes that otherwise say nothing about the job; then the code; then the body.
func (j *Job) ReadPoll(in *intent.Intent, a Answer) PollReading {
	return j.readView(in, &view{Answer: a})
}

// readView is ReadPoll for an answer, or a part of one, that may be decoded already.
func (j *Job) readView(in *intent.Intent, v *view) PollReading {
	s := j.stageOf(in)
	v.params, v.asked, v.captured = s.in.Params, in.Request, in.Captured
	p := PollReading{RetryAfter: v.retryAfter()}
	m := s.memory
	said, err := s.job.pollVerdict(s.in, v, &m, &p)
	if err == nil && p.Outcome == 0 {
		err = s.proceed(v, &said, &m, &p)
	}
	if err == nil && p.Outcome == 0 {
		err = s.job.report(s.in, v, said, &p)
	}
	if err != nil {
		p.Outcome, p.Reason, p.Reading, p.Fetch = Unreadable, err.Error(), intent.Reading{}, nil
		m = s.memory
	}
	p.Memory = s.remember(m)
	return p
}

// pollVerdict finds out what the answer says about the state, or why it says
// nothing: then the outcome is set.
func (j *Job) pollVerdict(in *intent.Intent, v *view, m *memory, p *PollReading) (verdict, error) {
	said, err := j.state.firstRule(v)
	switch {
	case err != nil || said.settled:
		if said.outcome != 0 {
			p.Outcome, p.Reason = said.outcome, "a rule says "+said.rule
		}
		return said, err
	case v.Code == http.StatusNotModified: // also without an ETag: slurmrestd
		return verdict{status: intent.InProgress, unknown: in.UnknownState}, nil
	}
	p.Outcome, p.Reason = byCode(v.Code)
	if p.Outcome != 0 {
		return j.redirected(in, v, p), nil
	}
	if p.Reason = j.bodyProblem(v, *m); p.Reason != "" {
		p.Outcome = Unreadable
		return said, nil
	}
	if j.state.auto && v.Code == http.StatusAccepted {
		m.Done = true
	}
	said, err = j.state.read(v)
	switch {
	case err != nil || said.settled || said.unknown != "":
	case v.final:
		return verdict{status: intent.Completed, settled: true}, nil
	case j.state.auto:
		return wordless(v, *m), nil
	}
	return said, err
}

// proceed notes what the answer says for the polls to come: that the job has run,
// where to ask next, which state of things not to tell again.
func (s *stage) proceed(v *view, said *verdict, m *memory, p *PollReading) error {
	running := said.status == intent.InProgress
	switch {
	case !running || said.word == "":
	case !waits(said.word):
		m.Ran = true
	case m.Ran:
		p.Outcome, p.Reason = Missing, "the state fell back to "+unknownWord(said.word)
		return nil
	}
	if s.job.then != nil && (running || said.status == intent.Completed && said.rule == "") {
		hop, err := s.job.then.begin(*s, v, p)
		if err != nil {
			return err
		}
		m.Then = hop
		*said = verdict{status: intent.InProgress, unknown: said.unknown}
		running = true
	}
	if v.Code == http.StatusNotModified {
		return nil
	}
	m.ETag, m.Spec = "", ""
	if tag := v.Header.Get("Etag"); running && said.unknown == "" && m.Then == nil && !v.element && isEntityTag(tag) {
		m.ETag, m.Spec = tag, s.job.mark
	}
	return s.readNext(v, m, p)
}

// isEntityTag tells what can be sent back in If-None-Match (RFC 9110, section 8.8.3).
func isEntityTag(tag string) bool {
	inner, ok := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	return ok && closed && len(tag) <= 256 && !strings.ContainsFunc(inner, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' })
}

// readNext takes over where the answer says that the next poll goes.
func (s *stage) readNext(v *view, m *memory, p *PollReading) error {
	told, err := s.job.nextURL.text(v)
	if err != nil || told == "" {
		return err
	}
	next, err := s.job.hosts.accept(told, originAt(s.in, s.url()))
	if err != nil {
		p.Refused = redact(told)
		return nil
	}
	if m.Next = next; next == s.in.StatusURL {
		m.Next = ""
	}
	return nil
}

// byCode sorts out the codes that carry no state.
func byCode(code int) (o Outcome, reason string) {
	reason = strconv.Itoa(code)
	switch {
	case code >= 200 && code < 300:
		return 0, ""
	case code == http.StatusTooManyRequests, code >= 500:
		return Unavailable, reason
	case code == http.StatusNotFound:
		return Missing, reason
	case code == http.StatusGone:
		return Gone, reason
	}
	return Unreadable, reason
}

// redirected takes a 303 for what it is where nothing else was written: the job is
// done, and its result is over there.
func (j *Job) redirected(in *intent.Intent, v *view, p *PollReading) verdict {
	location := v.Header.Get("Location")
	if !j.state.auto || v.Code != http.StatusSeeOther || location == "" {
		return verdict{}
	}
	if back, err := j.hosts.accept(location, originOf(in)); err == nil && back == in.StatusURL {
		return verdict{} // to where it came from: that is no result
	}
	p.Outcome, p.Reason = 0, ""
	return verdict{status: intent.Completed, settled: true}
}

// bodyProblem tells why a 2xx cannot be read, "" if it can.
func (j *Job) bodyProblem(v *view, m memory) string {
	told := false
	switch v.decode() {
	case emptyBody:
		told = j.state.needsNoBody() || j.state.auto && codeTells(v.Code, m)
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

// codeTells reports whether auto can do without a body. A 200 that tells no state
// means that the job is done where a 202 named its status URL in a header, or an
// earlier poll was answered 202. Else it means nothing: most APIs answer every poll
// with it, and the Location of a 201 is that of a resource.
func codeTells(code int, m memory) bool {
	switch code {
	case http.StatusAccepted:
		return true
	case http.StatusOK, http.StatusNoContent:
		return m.Done
	}
	return false
}

// wordless decides by the code where auto found no word.
func wordless(v *view, m memory) verdict {
	null := v.decode() == jsonBody && v.body == nil
	if v.Code == http.StatusAccepted || !codeTells(v.Code, m) || null || hasState(v) {
		return verdict{status: intent.InProgress}
	}
	if done, _ := autoProgress(v); done != nil && *done < 100 {
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
		if v.Code > 300 && v.Code < 400 {
			r.ResultURL = seeOther(in, v)
		}
		p.Fetch, err = j.readResult(in, v, r)
	default:
		r.Error, err = j.readError(v, r.Status)
	}
	return err
}

// seeOther is the Location of a redirect, made absolute as far as it goes.
func seeOther(in *intent.Intent, v *view) string {
	location := v.Header.Get("Location")
	if location == "" || isResultURL(location) {
		return location
	}
	resolved, err := hosts(nil).accept(location, originOf(in))
	if err != nil {
		return ""
	}
	return in.ClientURL(resolved)
}

func originOf(in *intent.Intent) origin { return originAt(in, in.StatusURL) }

// originAt is the origin of URLs in the answer to a poll of url.
func originAt(in *intent.Intent, url string) origin {
	path, _, _ := strings.Cut(url, "?")
	return origin{host: in.Host, scheme: in.Scheme, path: path}
}

func (j *Job) readMessage(v *view) (string, error) {
	if j.message == nil {
		return autoMessage(v).value, nil
	}
	return j.message.text(v)
}

func (j *Job) readError(v *view, status intent.Status) (*intent.Error, error) {
	value := any(nil)
	if j.failure == nil {
		value, _ = autoError(v)
	} else {
		var err error
		if value, err = j.failure.eval(v); err != nil {
			return nil, err
		}
	}
	return backendError(value, status), nil
}

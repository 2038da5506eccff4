package adapter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A resultReader is a compiled Result.
type resultReader struct {
	value    *expr
	fetch    *endpoint
	fetchURL *expr
	failed   *expr // over what was fetched
}

func (c *compiler) result() error {
	s := c.spec.Result
	if s == nil {
		return nil
	}
	forms := 0
	for _, used := range []bool{s.Expr != "", s.Fetch != nil && s.Fetch.Target != "", s.FetchURL != ""} {
		if used {
			forms++
		}
	}
	if s.Expr != "" && s.FailedWhen != "" {
		return specErr("result", "failed when is about what is fetched, and nothing is: write result fetch")
	}
	if forms != 1 || s.Expr != "" && s.Fetch != nil {
		return specErr("result", "has %d forms: write one of result <expression>, result fetch GET <path>, result fetch <expression>", forms)
	}
	r := &c.job.result
	var err error
	if r.value, err = c.statusExpr("result", s.Expr); err != nil {
		return err
	}
	if r.fetchURL, err = c.statusExpr("result fetch", s.FetchURL); err != nil || s.Expr != "" {
		return err
	}
	fetch := Endpoint{}
	if s.Fetch != nil {
		fetch = *s.Fetch
	}
	if fetch.Header == nil && c.spec.Status != nil {
		fetch.Header = c.spec.Status.Header
	}
	if r.fetch, err = c.endpoint("result fetch", &fetch, http.MethodGet); err != nil {
		return err
	}
	if r.failed, err = c.submitCondition("result fetch failed when", s.FailedWhen); err != nil {
		return err
	}
	return c.needsJobID("result fetch", r.fetch)
}

// readResult fills in the result of a completed reading, and gives the request
// that fetches it, if it has to be fetched.
func (j *Job) readResult(in *intent.Intent, v *view, r *intent.Reading) (*Request, error) {
	switch {
	case j.result.value != nil:
		value, err := j.result.value.eval(v)
		if err != nil || value == nil {
			return nil, err
		}
		if text, ok := value.(string); ok && isResultURL(text) {
			r.ResultURL = text
		} else {
			r.Result = encodeJSON(value)
		}
		return nil, nil
	case j.result.fetch != nil:
		return j.resultFetch(in, v, r)
	case r.ResultURL == "":
		r.Result = wholeBody(v)
	}
	return nil, nil
}

// resultFetch makes the request for the result. If there can be none, the URL that
// the backend told is all that a client gets.
func (j *Job) resultFetch(in *intent.Intent, v *view, r *intent.Reading) (*Request, error) {
	told, err := j.result.fetchURL.text(v)
	if err != nil {
		return nil, err
	}
	target := ""
	if j.result.fetchURL != nil {
		if isResultURL(told) {
			r.ResultURL = told
		}
		if target, err = j.hosts.accept(told, originOf(in)); err != nil {
			return nil, nil // also if none was told
		}
	}
	request, err := j.result.fetch.request("result fetch", in, j.hosts, target)
	if err != nil {
		return nil, nil
	}
	if r.ResultURL == "" {
		r.ResultURL = in.ClientURL(request.URL)
	}
	return &request, nil
}

// isResultURL tells a URL from a result that happens to be a text. What a browser
// could not follow safely is a result.
func isResultURL(s string) bool {
	if len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || isControl(r) || r == utf8.RuneError }) {
		return false
	}
	if strings.HasPrefix(s, "/") {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// ReadFetched puts a fetched result into r. One that the spec takes for a failure
// makes r a failure. One that is a redirect is where it leads. Any other that failed
// or cannot be used leaves the result's URL in its place.
func (j *Job) ReadFetched(in *intent.Intent, r intent.Reading, a Answer) intent.Reading {
	s := j.stageOf(in)
	v := view{Answer: a, params: s.in.Params, asked: in.Request, captured: in.Captured}
	if s.job.failedFetch(&v, &r) {
		return r
	}
	if a.Code > 300 && a.Code < 400 {
		r.ResultURL = cmp.Or(seeOther(s.in, &v), r.ResultURL)
	}
	if a.Code < 200 || a.Code > 299 || a.Cut {
		return r
	}
	if v.decode() == opaqueBody && !utf8.Valid(a.Body) {
		return r
	}
	if result := wholeBody(&v); result != nil && len(result) <= intent.MaxResult {
		r.Result, r.ResultURL = result, ""
	}
	return r
}

// failedFetch makes a failure of r if that is what was fetched.
func (j *Job) failedFetch(v *view, r *intent.Reading) bool {
	if failed, err := j.result.failed.holds(v); err != nil || !failed {
		return false
	}
	reason, err := j.readError(v, intent.Failed)
	if err != nil {
		return false
	}
	r.Status, r.Result, r.ResultURL, r.Error = intent.Failed, nil, "", reason
	return true
}

// wholeBody is a body as JSON: minified, or as a string if it is none. A part of a
// body is no result.
func wholeBody(v *view) json.RawMessage {
	switch kind := v.decode(); {
	case kind == emptyBody || v.Cut:
		return nil
	case kind == jsonBody:
		return compactJSON(trimBody(v.raw()))
	}
	return encodeJSON(string(bytes.ToValidUTF8(v.Body, []byte("\uFFFD"))))
}

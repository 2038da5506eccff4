package adapter

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/caddy-intents/caddy-intents/intent"
)

// seeds gives f the files of the golden cases whose name begins with prefix.
func seeds(f *testing.F, prefix string, add func(file string)) {
	cases, err := filepath.Glob("testdata/*.txtar")
	require.NoError(f, err)
	require.NotEmpty(f, cases)
	for _, name := range cases {
		archive, err := txtar.ParseFile(name)
		require.NoError(f, err)
		for _, file := range archive.Files {
			if strings.HasPrefix(file.Name, prefix) {
				add(string(file.Data))
			}
		}
	}
}

// A job is COMPLETED only if its answer says so by somebody else's reading of it.
func FuzzReadPoll(f *testing.F) {
	seeds(f, "poll-", func(answer string) {
		head, body, _ := strings.Cut(answer, "\n\n")
		var code int
		_, _ = fmt.Sscanf(head, "HTTP/1.1 %d", &code)
		f.Add(code, "application/json", strings.TrimSuffix(body, "\n"))
	})
	for _, body := range anyBodies {
		f.Add(200, "", body)
	}
	paths := Spec{Submit: Route{Path: "/jobs"}, Status: &Endpoint{Target: "/jobs/{job_id}"}}
	auto := mustCompile(f, paths)
	paths.State = &State{Expr: "body.status", Words: map[string][]string{"completed": {"done"}, "failed": {"error"}}}
	paths.Progress, paths.Result, paths.Message = &Progress{Done: "body.n", Total: "body.of"}, &Result{Expr: "body.out"}, "body.list.map(x, string(x))[0]"
	mapped := mustCompile(f, paths)
	var walked []*expr
	for _, src := range anyPaths {
		e, err := compileExpr("fuzz", src)
		require.NoError(f, err)
		walked = append(walked, e)
	}
	f.Fuzz(func(t *testing.T, code int, contentType, body string) {
		a := Answer{Code: code, Header: http.Header{"Content-Type": {contentType}}, Body: []byte(body)}
		read := mapped.ReadPoll(testIntent(), a)
		requireSound(t, read)
		if read.Reading.Status == intent.Completed {
			require.True(t, code >= 200 && code < 300 && saysDone(body), "a false end")
		}
		read = auto.ReadPoll(testIntent(), a)
		requireSound(t, read)
		if read.Reading.Status == intent.Completed && code != http.StatusSeeOther {
			require.True(t, code >= 200 && code < 300 && mentionsAnEnd(body), "a false end")
		}
		requireSubmitIsSound(t, auto, a)
		for _, e := range walked {
			requireSameBothWays(t, e, body)
		}
	})
}

func mustCompile(tb testing.TB, s Spec) *Job {
	job, err := Compile(s, Options{})
	require.NoError(tb, err)
	return job
}

// requireSound checks what holds for every reading whatever the answer.
func requireSound(t *testing.T, read PollReading) {
	r := read.Reading
	if read.Outcome != Readable {
		require.NotEmpty(t, read.Reason)
		return
	}
	require.Contains(t, []intent.Status{intent.InProgress, intent.Completed, intent.Failed, intent.Canceled, intent.TimedOut}, r.Status)
	require.Empty(t, read.Reason)
	if r.Progress != nil {
		require.True(t, *r.Progress >= 0 && *r.Progress <= 100)
	}
	if r.Result != nil {
		require.True(t, json.Valid(r.Result) && utf8.Valid(r.Result), "%q", r.Result)
	}
	require.Equal(t, r.Status == intent.Failed || r.Status == intent.Canceled || r.Status == intent.TimedOut, r.Error != nil)
}

func requireSubmitIsSound(t *testing.T, job *Job, a Answer) {
	read, err := job.ReadSubmit(Submitted{Host: "api.example.com", Path: "/jobs"}, a)
	if err != nil {
		_, typed := errors.AsType[*NoJobError](err)
		require.True(t, typed, "%T", err)
		return
	}
	if read.Reading != nil {
		require.Equal(t, intent.InProgress, read.Reading.Status)
	}
	requireHarmlessURL(t, read.Delivery.StatusURL)
}

// saysDone reads body.status without anything of this package.
func saysDone(body string) bool {
	body = strings.TrimSpace(strings.TrimPrefix(body, "\ufeff"))
	var fields map[string]any
	if json.Unmarshal([]byte(body), &fields) == nil {
		status, _ := fields["status"].(string)
		return strings.ToLower(strings.TrimSpace(status)) == "done"
	}
	var element struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
	}
	if strings.Contains(body, "encoding") { // the encodings that xml.Unmarshal does not know
		return true
	}
	return xml.Unmarshal([]byte(body), &element) == nil && element.XMLName.Local == "status"
}

// mentionsAnEnd looks for anything that auto could have taken for an end.
func mentionsAnEnd(body string) bool {
	var value any
	if json.Unmarshal([]byte(strings.TrimPrefix(body, "\ufeff")), &value) == nil {
		body = fmt.Sprint(value)
	}
	body = squeeze(body)
	for word, status := range commonWords {
		if status == intent.Completed && strings.Contains(body, word) {
			return true
		}
	}
	return strings.Contains(body, "true") || strings.Contains(body, "encoding") || strings.Contains(body, "&#")
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"3", "1.5", "-1", "0", "Sun, 01 Mar 2026 12:00:20 GMT", "1772366430", "1772366430000", "soon", "1e400", "99999999999999999999999"} {
		f.Add(value, noon.Unix())
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		wait := RetryAfter(http.Header{"Retry-After": {value}}, time.Unix(now, 0))
		require.True(t, wait == 0 || wait >= MinRetryAfter && wait <= MaxRetryAfter, "%v", wait)
	})
}

// A Spec either compiles into something that works on any answer, or is refused
// with one readable line that names a field.
func FuzzCompile(f *testing.F) {
	seeds(f, "spec.json", func(spec string) { f.Add([]byte(spec), `{"status":"done","a":[1]}`) })
	f.Fuzz(func(t *testing.T, spec []byte, body string) {
		var s Spec
		if json.Unmarshal(spec, &s) != nil {
			return
		}
		job, err := Compile(s, Options{})
		if err != nil {
			named, typed := errors.AsType[*SpecError](err)
			require.True(t, typed, "%T: %v", err, err)
			require.NotEmpty(t, named.Field)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		in := testIntent()
		requireSound(t, job.ReadPoll(in, Answer{Code: 200, Body: []byte(body)}))
		if poll, err := job.PollRequest(in); err == nil {
			for _, values := range poll.Header {
				require.NotContains(t, strings.Join(values, ""), "\n")
			}
		}
		if cancel, ok, err := job.CancelRequest(in); ok && err == nil {
			requireHarmlessURL(t, cancel.URL)
		}
		if read, err := job.ReadSubmit(Submitted{Path: "/jobs", Body: []byte(body)}, Answer{Code: 202, Body: []byte(body)}); err == nil {
			requireHarmlessURL(t, read.Delivery.StatusURL)
		}
	})
}

// FuzzStatusURL: a URL of a backend that was accepted leads to the job's own
// backend, to the place that it names, and back to itself.
func FuzzStatusURL(f *testing.F) {
	for _, raw := range []string{
		"/jobs/1", "../1?x=1#y", "https://api.example.com/a/../../b", "//evil.example/x", "http://2130706433/", "http://[::1%25eth0]/", "/a/%2e%2e/b", "/a%2f..%2fb", `/\evil`, "/a\r\nb", "http://localhost:9/%zz", "///x",
		"/..;/x", "https://user@api.example.com", "http:x", "/%5c..%5c", "/é?é", "?", "/a//b", ".//x", "/.//x", "/%2F",
	} {
		f.Add(raw, "/v1/jobs", "api.example.com")
		f.Add(raw, "//x/..", "[::1]:80")
	}
	f.Fuzz(func(t *testing.T, raw, path, host string) {
		got, err := testHosts.accept(raw, origin{host: host, scheme: "https", path: path})
		if err != nil {
			require.Empty(t, got)
			return
		}
		requireHarmlessURL(t, got)
		again, err := testHosts.accept(got, origin{path: "/"})
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

func requireHarmlessURL(t *testing.T, got string) {
	t.Helper()
	require.True(t, strings.HasPrefix(got, "/") && !strings.HasPrefix(got, "//"), "%q", got)
	require.LessOrEqual(t, len(got), maxURL)
	require.False(t, strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' || r == '#' }), "%q", got)
	u, err := url.ParseRequestURI(got)
	require.NoError(t, err)
	require.Empty(t, u.Host)
	require.False(t, climbs(u.Path), "%q", got)
}

// FuzzJobID: an id that goes into a URL stays in its segment and comes out as it was.
func FuzzJobID(f *testing.F) {
	for _, id := range []string{"7", "a/b", "..", "%2e%2e", "a\r\nb", "", "é", "..;x", "{job_id}", "a?b#c&d=e+f g", `..\x`} {
		f.Add(id)
	}
	target, err := parseTarget("/a/{job_id}/b?id={job_id}&c=d")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, id string) {
		got, err := target.expandTarget(captured{jobID: id})
		if err != nil {
			return
		}
		requireHarmlessURL(t, got)
		path, query, _ := strings.Cut(got, "?")
		segments := strings.Split(path, "/")
		require.Len(t, segments, 4)
		back, err := url.PathUnescape(segments[2])
		require.NoError(t, err)
		require.Equal(t, id, back)
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		require.Equal(t, url.Values{"id": {id}, "c": {"d"}}, values)
	})
}

// FuzzXML feeds the XML reader: it answers or refuses, nests no deeper than it may,
// and expands nothing that was not written.
func FuzzXML(f *testing.F) {
	for _, body := range anyBodies {
		f.Add(body)
	}
	f.Add(`<job id="7"><phase>DONE</phase><step/><step>x</step></job>`)
	f.Add(`<!DOCTYPE j [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><j>&b;</j>`)
	f.Add(`<a:b xmlns:a="x"><![CDATA[<c>]]></a:b>`)
	f.Fuzz(func(t *testing.T, body string) {
		v, err := decodeXML([]byte(body))
		if err != nil {
			return
		}
		require.LessOrEqual(t, depthOf(v), 2*maxDepth)
		require.LessOrEqual(t, textIn(v), len(body)*utf8.UTFMax, "text that was not written")
	})
}

func depthOf(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			deepest = max(deepest, depthOf(member))
		}
	case []any:
		for _, element := range v {
			deepest = max(deepest, depthOf(element))
		}
	default:
		return 0
	}
	return deepest + 1
}

func textIn(v any) int {
	n := 0
	switch v := v.(type) {
	case string:
		return len(v)
	case map[string]any:
		for _, member := range v {
			n += textIn(member)
		}
	case []any:
		for _, element := range v {
			n += textIn(element)
		}
	}
	return n
}

package adapter_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// compile compiles a spec written as JSON.
func compile(t testing.TB, spec string, o adapter.Options) *adapter.Job {
	t.Helper()
	var s adapter.Spec
	require.NoError(t, json.Unmarshal([]byte(spec), &s))
	job, err := adapter.Compile(s, o)
	require.NoError(t, err)
	return job
}

// statusSpec is a spec with the given fields besides the two paths.
func statusSpec(fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `{"submit":{"path":"/jobs"},"status":{"target":"/jobs/{job_id}"}` + fields + `}`
}

func running() *intent.Intent {
	return &intent.Intent{Delivery: intent.Delivery{JobID: "7", StatusURL: "/jobs/7"}}
}

// ok is a 200 with a body.
func ok(body string) adapter.Answer { return answer(http.StatusOK, body) }

// fileOf and setFile look into a case.
func fileOf(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func setFile(a *txtar.Archive, name, data string) {
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = []byte(data)
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(data)})
}

// parseExchange reads a request and its answer; the request may be left out.
func parseExchange(t *testing.T, exchange string) (s adapter.Submitted, method string, a adapter.Answer) {
	s, method = adapter.Submitted{Host: "api.example.com", Scheme: "https", Path: "/jobs"}, "POST"
	request, rest, found := strings.Cut(exchange, "\nHTTP/1.1 ")
	if !found {
		return s, method, parseAnswer(t, exchange)
	}
	head, body, _ := strings.Cut(request, "\n\n")
	line, _, _ := strings.Cut(head, "\n")
	words := strings.Fields(line)
	require.Len(t, words, 2, "a request begins with a method and a path")
	method, s.Path = words[0], words[1]
	s.Body = []byte(strings.TrimSpace(body))
	return s, method, parseAnswer(t, "HTTP/1.1 "+rest)
}

// parseAnswer reads an answer. One whose Content-Length is above what follows was
// cut off.
func parseAnswer(t *testing.T, text string) adapter.Answer {
	head, body, _ := strings.Cut(text, "\n\n")
	line, fields, _ := strings.Cut(head, "\n")
	code, err := strconv.Atoi(strings.Fields(line)[1])
	require.NoError(t, err)
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(fields + "\n\n"))).ReadMIMEHeader()
	require.NoError(t, err)
	body = strings.TrimSuffix(body, "\n")
	length, _ := strconv.Atoi(header.Get("Content-Length"))
	return adapter.Answer{Code: code, Header: http.Header(header), Body: []byte(body), Cut: length > len(body)}
}

func (p *player) say(word, text string) {
	if text != "" {
		fmt.Fprintf(&p.out, "%-9s %s\n", word, text)
	}
}

func (p *player) said(read adapter.SubmitReading) {
	fmt.Fprintf(&p.out, "submit    job %q at %s\n", read.Delivery.JobID, read.Delivery.StatusURL)
	for _, name := range slices.Sorted(maps.Keys(read.Delivery.Params)) {
		p.say("params", fmt.Sprintf("%s=%q", name, read.Delivery.Params[name]))
	}
	if read.Reading != nil {
		p.say("reading", readingText(*read.Reading))
	}
	if read.RetryAfter != 0 {
		p.say("retry", read.RetryAfter.String())
	}
	p.say("memory", read.Memory)
	p.say("refused", read.Refused)
	for _, line := range read.Pin {
		p.say("pin", line)
	}
}

// delivered writes down what a submit of our own came to.
func (p *player) delivered(name string, d adapter.DeliveryReading) {
	text := d.Outcome.String()
	switch {
	case d.Outcome == adapter.Delivered:
		text += " as " + strconv.Quote(d.Submit.Delivery.JobID) + " at " + d.Submit.Delivery.StatusURL
	case d.Refused:
		text += ", refused: " + strconv.Quote(d.Reason)
	default:
		text += ": " + strconv.Quote(d.Reason)
	}
	if d.RetryAfter != 0 {
		text += " retry=" + d.RetryAfter.String()
	}
	p.say(name, text)
}

// requests writes down what would be sent.
func (p *player) requests() {
	poll, err := p.job.PollRequest(&p.in)
	require.NoError(p.t, err)
	p.say("poll", requestText(poll))
	if p.job.Waits() {
		p.say("wait", requestText(p.job.WaitRequest(poll))+" for "+p.job.WaitTimeout(10*time.Second).String())
	}
	cancel, can, err := p.job.CancelRequest(&p.in)
	require.NoError(p.t, err)
	if can {
		p.say("cancel", requestText(cancel))
	}
}

// moved tells whether the polls to come are other requests than before.
func (p *player) moved(read adapter.PollReading) bool {
	before, err := p.job.PollRequest(&p.in)
	require.NoError(p.t, err)
	in := p.in
	in.Memory = read.Memory
	after, err := p.job.PollRequest(&in)
	require.NoError(p.t, err)
	return requestText(before) != requestText(after)
}

// cancels says of requests of clients whether they are the cancel of a job.
func (p *player) cancels(requests string) {
	for line := range strings.Lines(requests) {
		method, target, _ := strings.Cut(strings.TrimSpace(line), " ")
		path, query, _ := strings.Cut(target, "?")
		if url, ok := p.job.MatchCancel(method, path, query); ok {
			p.say("cancels", line[:len(line)-1]+" of "+url)
		} else {
			p.say("no cancel", strings.TrimSpace(line))
		}
	}
}

func requestText(r adapter.Request) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s", r.Method, r.URL)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&text, " %s: %q", name, r.Header[name])
	}
	if len(r.Body) > 0 {
		fmt.Fprintf(&text, " %s", r.Body)
	}
	return text.String()
}

func pollText(p adapter.PollReading) string {
	text := p.Outcome.String()
	if p.Outcome == adapter.Readable {
		text = readingText(p.Reading)
	} else {
		text += ": " + p.Reason
	}
	if p.RetryAfter != 0 {
		text += " retry=" + p.RetryAfter.String()
	}
	if p.Memory != "" {
		text += " memory=" + p.Memory
	}
	return text
}

func readingText(r intent.Reading) string {
	text := string(r.Status)
	if r.UnknownState != "" {
		text += fmt.Sprintf(" unknown=%q", r.UnknownState)
	}
	if r.Progress != nil {
		text += fmt.Sprintf(" progress=%v", *r.Progress)
	}
	if r.Message != "" {
		text += fmt.Sprintf(" message=%q", r.Message)
	}
	if r.Result != nil {
		text += " result=" + string(r.Result)
	}
	if r.ResultURL != "" {
		text += " result_url=" + r.ResultURL
	}
	if r.Error != nil {
		text += fmt.Sprintf(" error=%s/%s:%q", r.Error.Category, r.Error.Code, r.Error.Message)
	}
	return text
}

package caddymodule

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// A writer writes Caddyfile lines as `caddy fmt` does.
type writer struct {
	text   strings.Builder
	indent int
}

// caddyfile writes the job as the block that it would be parsed from.
func (j *Job) caddyfile() string {
	var w writer
	w.block([]string{"job", j.Name}, func() { w.job(j) })
	return w.text.String()
}

// line writes a line of words. Empty ones are left out.
func (w *writer) line(words ...string) {
	words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
	w.text.WriteString(strings.Repeat("\t", w.indent) + strings.Join(words, " ") + "\n")
}

// set writes a line if there is a value.
func (w *writer) set(word, value string) {
	if value != "" {
		w.line(word, token(value))
	}
}

// block writes a line and what body writes below it, in braces if that is anything.
func (w *writer) block(words []string, body func()) {
	inner := writer{indent: w.indent + 1}
	outer := *w
	*w = inner
	body()
	lines := w.text.String()
	*w = outer
	if lines == "" {
		w.line(words...)
		return
	}
	w.line(append(words, "{")...)
	w.text.WriteString(lines)
	w.line("}")
}

func (w *writer) job(j *Job) {
	w.set("preset", j.Preset)
	w.set("preset_file", j.PresetFile)
	if submit := j.Submit; submit != (adapter.Route{}) {
		w.block([]string{"submit", submit.Method, token(submit.Path)}, func() {
			w.when("refused", submit.RefusedWhen)
			w.when("final", submit.FinalWhen)
		})
	}
	w.request("status", j.Status)
	w.set("status_url", j.StatusURL)
	w.set("next_url", j.NextURL)
	w.request("cancel", j.Cancel)
	w.set("job_id", j.JobID)
	w.params(j.Params)
	w.reading(j.State, j.Progress, j.Message, j.Result, j.Error)
	if hop := j.Then; hop != nil {
		w.block([]string{"then"}, func() {
			w.request("status", hop.Status)
			w.set("status_url", hop.StatusURL)
			w.request("cancel", hop.Cancel)
			w.params(hop.Params)
			w.reading(hop.State, hop.Progress, hop.Message, hop.Result, hop.Error)
		})
	}
	if j.Poll != nil {
		w.block([]string{"poll", duration(j.Poll.Interval)}, func() { w.poll(j.Poll) })
	}
	if len(j.CopyHeaders) > 0 {
		w.line(append([]string{"copy_headers"}, j.CopyHeaders...)...)
	}
	if j.Deadline != 0 {
		cancel := ""
		if j.CancelAtDeadline {
			cancel = "cancel"
		}
		w.line("deadline", duration(j.Deadline), cancel)
	}
	if j.Queue != nil {
		w.block([]string{"queue", duration(j.Queue.For)}, func() { w.queue(j) })
	} else if j.Lookup != nil {
		w.block([]string{"queue"}, func() { w.lookup(j.Lookup) })
	}
	for _, hook := range j.Webhooks {
		w.block([]string{"webhook", token(hook.URL)}, func() { w.webhook(hook) })
	}
	w.set("respond", j.Respond)
	w.set("offload", j.Offload)
	w.set("adopt", j.Adopt)
}

// when writes a condition, if there is one.
func (w *writer) when(word, condition string) {
	if condition != "" {
		w.line(word, "when", token(condition))
	}
}

// request writes a request to the backend.
func (w *writer) request(word string, e *adapter.Endpoint) {
	if e != nil {
		w.block([]string{word, e.Method, token(e.Target)}, func() { w.details(e) })
	}
}

func (w *writer) details(e *adapter.Endpoint) {
	w.headers(e.Header)
	w.set("body", e.Body)
	w.codes("accept", e.Accept)
	w.codes("over", e.Over)
}

func (w *writer) headers(h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			w.line("header", name, quoted(value))
		}
	}
}

func (w *writer) codes(word string, codes []int) {
	if len(codes) == 0 {
		return
	}
	words := []string{word}
	for _, code := range codes {
		words = append(words, strconv.Itoa(code))
	}
	w.line(words...)
}

func (w *writer) params(params map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		w.line("param", name, token(params[name]))
	}
}

// reading writes what is read in a status answer.
func (w *writer) reading(s *adapter.State, p *adapter.Progress, message string, r *adapter.Result, failure string) {
	if s != nil {
		// Without an expression the rules alone decide, where nothing would mean auto.
		w.block([]string{"state", quoted(s.Expr)}, func() { w.state(s) })
	}
	if p != nil {
		w.set("progress", p.Percent)
		w.set("progress fraction", p.Fraction)
		if p.Done != "" {
			w.line("progress", "count", token(p.Done), token(p.Total))
		}
	}
	w.set("message", message)
	if r != nil {
		w.result(r)
	}
	w.set("error", failure)
}

func (w *writer) state(s *adapter.State) {
	for _, rule := range s.Rules {
		w.when(rule.Status, rule.When)
	}
	for _, status := range adapter.StatusNames() {
		if words := s.Words[status]; len(words) > 0 {
			line := []string{status}
			for _, word := range words {
				line = append(line, quoted(word))
			}
			w.line(line...)
		}
	}
}

func (w *writer) result(r *adapter.Result) {
	w.set("result", r.Expr)
	if r.Expr != "" {
		return
	}
	fetch := adapter.Endpoint{}
	if r.Fetch != nil {
		fetch = *r.Fetch
	}
	w.block([]string{"result", "fetch", fetch.Method, token(fetch.Target + r.FetchURL)}, func() {
		w.details(&fetch)
		w.when("failed", r.FailedWhen)
	})
}

func (w *writer) poll(p *Poll) {
	for _, d := range []struct {
		word  string
		value caddy.Duration
	}{{"first", p.First}, {"max_interval", p.MaxInterval}, {"timeout", p.Timeout}, {"give_up", p.GiveUp}, {"grace", p.Grace}} {
		w.set(d.word, duration(d.value))
	}
	if p.Backoff != 0 {
		w.line("backoff", strconv.FormatFloat(p.Backoff, 'g', -1, 64))
	}
	if p.Jitter != nil {
		w.line("jitter", strconv.FormatFloat(*p.Jitter*100, 'g', 6, 64)+"%")
	}
	w.set("wait", p.Wait)
	if b := p.Batch; b != nil {
		w.block([]string{"batch", b.Method, token(b.Target)}, func() {
			w.headers(b.Header)
			w.set("body", b.Body)
			if b.Max != 0 {
				w.line("max", strconv.Itoa(b.Max))
			}
			w.set("elements", b.Elements)
			w.set("id", b.ID)
			w.set("keyed", b.Keyed)
		})
	}
}

func (w *writer) queue(j *Job) {
	if j.Queue.Max != 0 {
		w.line("max", strconv.Itoa(j.Queue.Max))
	}
	if j.Lookup != nil {
		w.lookup(j.Lookup)
		return
	}
	w.set("on_uncertain", j.Queue.OnUncertain)
}

func (w *writer) webhook(h *Webhook) {
	w.set("secret", h.Secret)
	if len(h.Events) > 0 {
		w.line(append([]string{"events"}, h.Events...)...)
	}
	if h.AllowPrivate {
		w.line("allow_private")
	}
}

func (w *writer) lookup(l *adapter.Lookup) {
	w.block([]string{"on_uncertain", "lookup", l.Method, token(l.Target)}, func() {
		w.details(&l.Endpoint)
		w.set("job_id", l.JobID)
	})
}

// duration writes a duration as a person would: 2m, not 2m0s. Zero is nothing.
func duration(d caddy.Duration) string {
	if d == 0 {
		return ""
	}
	s := time.Duration(d).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if trimmed, ok := strings.CutSuffix(s, zero); ok {
			s = trimmed + zero[:1]
		}
	}
	return s
}

// token writes a word so that the Caddyfile's lexer takes it for one. Nothing stays
// nothing.
func token(s string) string {
	if s == "" {
		return ""
	}
	return quoted(s)
}

func quoted(s string) string {
	plain := s != "" && s != "{" && s != "}" && !strings.ContainsAny(s, " \t\r\n\\") && !strings.ContainsAny(s[:1], "\"`#<")
	switch {
	case plain:
		return s
	case !strings.Contains(s, "`"):
		return "`" + s + "`"
	}
	return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
}

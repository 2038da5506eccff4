package adapter

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A StatusMatcher tells which requests ask for the status of a job of one kind.
type StatusMatcher struct {
	job      *Job
	template *template      // nil if the backend names the URLs
	shape    *regexp.Regexp // of the template; one group for each capture
}

// StatusMatcher compiles the job's status line for looking at requests, nil if
// statuses are not asked for with GET.
func (j *Job) StatusMatcher() *StatusMatcher {
	switch t := j.status.target; {
	case j.status.method != http.MethodGet:
		return nil
	case t == nil || t.whole:
		return &StatusMatcher{job: j}
	default:
		return &StatusMatcher{job: j, template: t, shape: t.shape()}
	}
}

// shape is the template as a regular expression over what it can expand to.
func (t *template) shape() *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	within := `([^/?#]+)`
	for _, p := range t.parts {
		switch {
		case p.capture != "":
			b.WriteString(within)
			continue
		case strings.Contains(p.literal, "?"):
			within = `([^&?#]+)`
		}
		b.WriteString(regexp.QuoteMeta(p.literal))
	}
	return regexp.MustCompile(b.String() + "$")
}

// AnyURL reports whether the backend may name the status URL: then only an intent
// that exists tells whose it is.
func (m *StatusMatcher) AnyURL() bool { return m.template == nil || m.job.statusURL != nil }

// Match takes path and query of a request, escaped, apart. It answers only what the
// template makes the same URL of, byte for byte: an intent is found by that.
func (m *StatusMatcher) Match(target string) (intent.Delivery, bool) {
	if m.template == nil || len(target) > maxURL {
		return intent.Delivery{}, false
	}
	values, ok := m.template.valuesIn(target, m.shape)
	if !ok {
		return intent.Delivery{}, false
	}
	return intent.Delivery{StatusURL: target, JobID: values.jobID, Params: values.params}, true
}

// valuesIn is the way back from what a template expands to, byte for byte, by its
// shape.
func (t *template) valuesIn(target string, shape *regexp.Regexp) (captured, bool) {
	var values captured
	found := shape.FindStringSubmatch(target)
	if found == nil {
		return values, false
	}
	for i, name := range t.captures() {
		value, err := url.QueryUnescape(strings.ReplaceAll(found[i+1], "+", "%2B")) // "+" is itself in a path
		if err != nil {
			return values, false
		}
		if param, ok := strings.CutPrefix(name, paramsPrefix); ok {
			if values.params == nil {
				values.params = make(map[string]string)
			}
			values.params[param] = value
		} else {
			values.jobID = value
		}
	}
	same, err := t.expandTarget(values)
	return values, err == nil && same == target
}

// Whole reports whether d has all that the job's other lines can ask of a delivery:
// then the job can be followed although nobody saw its submit.
func (m *StatusMatcher) Whole(d intent.Delivery) bool {
	known := func(name string) bool { return d.Params[name] != "" }
	for _, p := range m.job.params {
		if !known(p.name) {
			return false
		}
	}
	return d.JobID != "" && !m.job.readsRequest && !slices.ContainsFunc(m.job.match.params(), func(name string) bool { return !known(name) })
}

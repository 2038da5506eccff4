package probe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A Report is what a probe saw and learned.
type Report struct {
	Job      string        `json:"job,omitempty"`    // the id of the job that was run
	Status   intent.Status `json:"status,omitempty"` // how it ended, "" if it did not
	Steps    []Step        `json:"steps"`
	Warnings []string      `json:"warnings,omitempty"`
	Spec     adapter.Spec  `json:"spec"` // what to write
}

// A Step is one request and what was made of its answer.
type Step struct {
	What    string           `json:"what"`
	Request string           `json:"request"` // without the query, where keys may be
	Code    int              `json:"code,omitempty"`
	Answer  string           `json:"answer,omitempty"` // the beginning of its body
	Status  intent.Status    `json:"status,omitempty"`
	Read    []string         `json:"read,omitempty"`
	Reasons []adapter.Reason `json:"reasons,omitempty"`
}

// maxLine bounds a line of a report, since what a backend wrote stands in it.
const maxLine = 500

func (s *Step) say(format string, args ...any) {
	s.Read = append(s.Read, Fit(fmt.Sprintf(format, args...), maxLine))
}

// warn adds a warning, once.
func (r *Report) warn(format string, args ...any) {
	if text := Fit(fmt.Sprintf(format, args...), maxLine); !slices.Contains(r.Warnings, text) {
		r.Warnings = append(r.Warnings, text)
	}
}

// Text writes the report for a terminal. Steps that are like the one before are
// counted, not repeated.
func (r *Report) Text() string {
	var b strings.Builder
	for i := 0; i < len(r.Steps); {
		step := r.Steps[i]
		same := 1
		for i+same < len(r.Steps) && step.like(r.Steps[i+same]) {
			same++
		}
		i += same
		fmt.Fprintf(&b, "%-10s %s", step.What, step.Request)
		if step.Code != 0 {
			fmt.Fprintf(&b, " -> %d", step.Code)
		}
		if same > 1 {
			fmt.Fprintf(&b, " (%d times)", same)
		}
		b.WriteByte('\n')
		if step.Answer != "" {
			fmt.Fprintf(&b, "             %s\n", step.Answer)
		}
		for _, line := range step.Read {
			fmt.Fprintf(&b, "           - %s\n", line)
		}
	}
	if len(r.Warnings) > 0 {
		b.WriteString("\nWhat this could not tell:\n")
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "  ! %s\n", warning)
	}
	return b.String()
}

func (s Step) like(other Step) bool {
	return s.What == other.What && s.Request == other.Request && s.Code == other.Code && slices.Equal(s.Read, other.Read)
}

// describe says a reading in a line.
func describe(r intent.Reading) string {
	text := string(r.Status)
	if r.Progress != nil {
		text += ", " + strconv.FormatFloat(*r.Progress, 'g', -1, 64) + " %"
	}
	switch {
	case r.ResultURL != "":
		text += ", result at " + withoutQuery(r.ResultURL)
	case r.Result != nil:
		text += ", result " + Fit(string(r.Result), 60)
	}
	if r.Error != nil {
		text += ", error " + r.Error.Code
	}
	return text
}

func because(r adapter.Reason) string {
	switch {
	case r.Line == "":
		return r.Value
	case strings.Contains(r.Line, " when "):
		return "of the rule " + r.Line
	}
	return r.Line + " is " + r.Value
}

// withoutQuery leaves out where keys may be.
func withoutQuery(url string) string {
	if path, _, found := strings.Cut(url, "?"); found {
		return path + "?..."
	}
	return url
}

// excerpt is the beginning of a body, fit for a terminal.
func excerpt(a adapter.Answer) string { return Fit(string(a.Body), 160) }

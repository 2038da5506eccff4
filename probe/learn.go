package probe

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// learn adds a config line that auto found to the Spec of the report, if all answers
// so far are read as before with it. A line is in words of the config.
func (r *run) learn(line string) {
	word, value, _ := strings.Cut(line, " ")
	spec := r.report.Spec
	if !writable(line) || !fill(&spec, word, value) {
		return
	}
	before, errBefore := r.answers.readBy(r.report.Spec, r.submitted)
	after, err := r.answers.readBy(spec, r.submitted)
	if errBefore == nil && err == nil && slices.EqualFunc(before, after, alike) {
		r.report.Spec = spec
	}
}

// fill puts a line into a Spec. It answers false if there is one already.
func fill(s *adapter.Spec, word, value string) bool {
	text := map[string]*string{"job_id": &s.JobID, "status_url": &s.StatusURL, "message": &s.Message, "error": &s.Error}[word]
	switch {
	case text != nil && *text == "":
		*text = value
	case word == "status" && (s.Status == nil || s.Status.Target == ""):
		method, target, _ := strings.Cut(value, " ")
		status := adapter.Endpoint{Method: method, Target: target}
		if s.Status != nil {
			status.Header = s.Status.Header
		}
		s.Status = &status
	case word == "state" && s.State == nil:
		s.State = &adapter.State{Expr: value}
	case word == "progress" && s.Progress == nil:
		s.Progress = progressOf(value)
	default:
		return false
	}
	return true
}

func progressOf(value string) *adapter.Progress {
	form, rest, _ := strings.Cut(value, " ")
	switch form {
	case "fraction":
		return &adapter.Progress{Fraction: rest}
	case "count":
		done, total, _ := strings.Cut(rest, " ")
		return &adapter.Progress{Done: done, Total: total}
	}
	return &adapter.Progress{Percent: value}
}

// readBy reads all answers by a Spec.
func (a answers) readBy(spec adapter.Spec, s adapter.Submitted) ([]adapter.PollReading, error) {
	job, err := adapter.Compile(spec, adapter.Options{})
	if err != nil {
		return nil, err
	}
	read, err := job.ReadSubmit(s, a.submit)
	if err != nil {
		return nil, err
	}
	first := adapter.PollReading{Reason: read.Delivery.JobID + " " + read.Delivery.StatusURL, Memory: read.Memory}
	in := intent.Intent{Delivery: read.Delivery, Polling: intent.Polling{Memory: read.Memory}}
	in.Host, in.Scheme, in.Request, in.Captured = s.Host, s.Scheme, s.Body, s.Body != nil
	all := []adapter.PollReading{first}
	for _, answer := range a.polls {
		p := job.ReadPoll(&in, answer)
		in.Memory = p.Memory
		all = append(all, p)
	}
	return all, nil
}

// alike compares what observers would see. An unreadable answer has more than one
// reason to be.
func alike(p, q adapter.PollReading) bool {
	return p.Outcome == q.Outcome && reflect.DeepEqual(p.Reading, q.Reading) && (p.Outcome != 0 || p.Reason == q.Reason)
}

// unknown takes note of a state that nobody knows.
func (r *run) unknown(reading intent.Reading) {
	word := reading.UnknownState
	if word == "" {
		return
	}
	if !writable(word) {
		r.report.warn("The state %q is unknown, and was taken for in progress.", word)
		return
	}
	r.report.warn("The state %q is unknown, and was taken for in progress: write what it means, in a line of state such as in_progress %s.", word, lineWord(word))
	spec := r.report.Spec
	state := adapter.State{Expr: "auto"}
	if spec.State != nil {
		state = *spec.State
	}
	if state.Expr == "" || slices.Contains(state.Words["in_progress"], word) {
		return
	}
	// Words that are written down replace the usual ones, but for those of auto.
	if state.Words == nil {
		state.Expr = "auto"
	}
	words := maps.Clone(state.Words)
	if words == nil {
		words = make(map[string][]string)
	}
	words["in_progress"] = append(slices.Clone(words["in_progress"]), word)
	state.Words = words
	spec.State = &state
	if _, err := adapter.Compile(spec, adapter.Options{}); err == nil {
		r.report.Spec = spec
	}
}

// writable reports whether a word can stand in a Caddyfile: there, {$ begins what is
// replaced before anything else is read, and a backtick calls for quotes in which
// a backslash does not always mean itself.
func writable(word string) bool {
	return Fit(word, len(word)+1) == word && !strings.Contains(word, "{$") &&
		(!strings.Contains(word, "`") || !strings.Contains(word, `\`))
}

// lineWord is a word as it stands in a line.
func lineWord(word string) string {
	if strings.ContainsAny(word, " \t") {
		return "`" + word + "`"
	}
	return word
}

// conclude says what the answers could not show.
func (r *run) conclude() {
	report := r.report
	if report.Job == "" && report.Status == "" {
		return
	}
	if _, err := r.answers.readBy(report.Spec, r.submitted); err != nil {
		if _, none := errors.AsType[*adapter.NoJobError](err); none {
			report.warn("The answer to the submit is read otherwise by the lines below: %v.", err)
		}
	}
	switch {
	case report.Status == intent.Completed:
		report.warn("No failure was seen: how this API says that a job failed is a guess. Probe one that fails.")
	case report.Status != "":
		report.warn("No completed job was seen: probe one that completes, too.")
	}
	if report.Status != "" && !slices.ContainsFunc(report.Steps, func(s Step) bool { return s.Status == intent.InProgress }) {
		report.warn("The job was over at the first poll: what this API says while a job runs was not seen.")
	}
	if report.Status != "" && report.Spec.Cancel == nil {
		report.warn("Whether jobs can be canceled was not tried: write cancel if they can.")
	}
}

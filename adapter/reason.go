package adapter

import (
	"fmt"
	"strconv"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Reason says why a status answer was read as it was: what was found, and the
// config line that finds it.
type Reason struct {
	Line  string `json:"line,omitempty"`  // "state body.status", "" if no line could say it
	Value string `json:"value,omitempty"` // what was found there, short and fit for a terminal
	Auto  bool   `json:"auto,omitempty"`  // the line is not in the Spec: auto found it
}

// Reasons explains how ReadPoll reads the answer to a poll. It is for people who
// describe a job API, not for every poll.
func (j *Job) Reasons(in *intent.Intent, a Answer) []Reason {
	s := j.stageOf(in)
	v := &view{Answer: a, params: s.in.Params, asked: in.Request, captured: in.Captured}
	reasons := []Reason{s.job.whyState(v, s.memory)}
	if p := j.ReadPoll(in, a); p.Outcome != Readable {
		return reasons
	} else if p.Reading.Status.Terminal() && p.Reading.Status != intent.Completed {
		reasons = append(reasons, s.job.whyError(v))
	}
	reasons = append(reasons, s.job.whyProgress(v), s.job.whyMessage(v))
	told := reasons[:0]
	for _, r := range reasons {
		if r != (Reason{}) {
			told = append(told, r)
		}
	}
	return told
}

// StateExpr is the expression that gives the state in the part of the Spec that reads
// the answer to the intent's next poll: the words that are to be known stand in its
// block. It is "" if there is none, or auto.
func (j *Job) StateExpr(in *intent.Intent) string {
	if word := j.stageOf(in).job.state.word; word != nil {
		return word.src
	}
	return ""
}

// whyState names the rule, the word or the code that decided.
func (j *Job) whyState(v *view, m memory) Reason {
	for _, rule := range j.state.rules {
		if holds, err := rule.when.holds(v); holds && err == nil {
			return Reason{Line: fmt.Sprintf("%s when %s", rule.says, rule.when.src), Value: "true"}
		}
	}
	if outcome, _ := byCode(v.Code); outcome != 0 {
		return Reason{Value: "code " + strconv.Itoa(v.Code)}
	}
	if problem := j.bodyProblem(v, m); problem != "" {
		return Reason{Value: problem}
	}
	if !j.state.auto {
		word, _ := j.state.word.text(v)
		if j.state.word == nil || word == "" {
			return Reason{Value: "nothing says otherwise"}
		}
		return Reason{Line: "state " + j.state.word.src, Value: show(word)}
	}
	return j.whyAuto(v)
}

func (j *Job) whyAuto(v *view) Reason {
	o, ok := top(v)
	if word, text := v.body.(string); text {
		return Reason{Line: "state body", Value: show(word), Auto: true}
	}
	if !ok {
		return Reason{Value: "code " + strconv.Itoa(v.Code)}
	}
	if said, at := j.state.wordIn(o); said.settled || said.unknown != "" {
		return Reason{Line: "state " + at.expr, Value: show(at.value), Auto: true}
	}
	for _, names := range []map[string]int{doneNames, readyNames} {
		if keys := o.named(names); len(keys) > 0 {
			return Reason{Value: fmt.Sprintf("%s is %s", o.sub(keys[0]), showValue(o.fields[keys[0]]))}
		}
	}
	return Reason{Value: "code " + strconv.Itoa(v.Code)}
}

func (j *Job) whyProgress(v *view) Reason {
	r := j.progress
	p, err := r.read(v)
	if p == nil || err != nil {
		return Reason{}
	}
	value := strconv.FormatFloat(*p, 'g', -1, 64) + " %"
	switch {
	case r.percent != nil:
		return Reason{Line: "progress " + r.percent.src, Value: value}
	case r.fraction != nil:
		return Reason{Line: "progress fraction " + r.fraction.src, Value: value}
	case r.done != nil:
		return Reason{Line: "progress count " + r.done.src + " " + r.total.src, Value: value}
	}
	_, line := autoProgress(v)
	return Reason{Line: line, Value: value, Auto: true}
}

func (j *Job) whyMessage(v *view) Reason {
	text, err := j.readMessage(v)
	switch {
	case text == "" || err != nil:
		return Reason{}
	case j.message != nil:
		return Reason{Line: "message " + j.message.src, Value: show(text)}
	}
	return Reason{Line: "message " + autoMessage(v).expr, Value: show(text), Auto: true}
}

func (j *Job) whyError(v *view) Reason {
	e, err := j.readError(v, intent.Failed)
	switch {
	case err != nil:
		return Reason{}
	case j.failure != nil:
		return Reason{Line: "error " + j.failure.src, Value: show(e.Message)}
	}
	if _, expr := autoError(v); expr != "" {
		return Reason{Line: "error " + expr, Value: show(e.Message), Auto: true}
	}
	return Reason{}
}

// show makes a text of a backend fit for a terminal.
func show(s string) string { return strconv.QuoteToGraphic(clip(s, 200)) }

func showValue(v any) string {
	if truth, ok := v.(bool); ok {
		return strconv.FormatBool(truth)
	}
	return show(fmt.Sprint(v))
}

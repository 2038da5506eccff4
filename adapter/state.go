package adapter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A stateReader is a compiled State.
type stateReader struct {
	rules []rule
	word  *expr
	words map[string]intent.Status // by folded word; nil for the common ones
	auto  bool                     // look for the word in the usual places
}

// A rule gives a status, or an outcome for an answer that tells none.
type rule struct {
	says    string
	status  intent.Status
	outcome Outcome
	when    *expr
}

// A verdict is what an answer says about a job's state.
type verdict struct {
	status  intent.Status
	unknown string  // the word, if nobody knows it; status is IN_PROGRESS then
	word    string  // the word that said so, if it was a word
	settled bool    // something in the answer said so
	outcome Outcome // of a rule: the answer tells no state
	rule    string  // what the rule says, if it was one
}

func (c *compiler) state() error {
	s := c.spec.State
	if s == nil {
		c.job.state.auto = true
		c.job.readsBody = true
		return nil
	}
	r := &c.job.state
	for i, written := range s.Rules {
		field := fmt.Sprintf("state rule %d", i+1)
		compiled, err := c.rule(field, written)
		if err != nil {
			return err
		}
		r.rules = append(r.rules, compiled)
	}
	if err := c.words(s.Words); err != nil {
		return err
	}
	switch s.Expr {
	case "":
		if len(s.Rules) == 0 {
			return specErr("state", "says nothing: write an expression that gives the state, such as state body.status, or rules with when")
		}
		if len(s.Words) > 0 {
			return specErr("state", "has words but no expression to compare them with: write one, such as state body.status")
		}
	case "auto":
		r.auto = true
		c.job.readsBody = true
	default:
		var err error
		if r.word, err = c.statusExpr("state", s.Expr); err != nil {
			return err
		}
	}
	return c.canComplete()
}

func (c *compiler) rule(field string, written Rule) (rule, error) {
	outcome, told := ruleOutcomes[written.Status]
	status, err := intent.Status(""), error(nil)
	if !told {
		status, err = statusNamed(field, written.Status)
	}
	if err != nil {
		return rule{}, err
	}
	when, err := compileCondition(field, written.When)
	if err != nil {
		return rule{}, err
	}
	c.job.readsBody = c.job.readsBody || when.uses(varBody)
	return rule{says: written.Status, status: status, outcome: outcome, when: when}, c.note(field, when)
}

func (c *compiler) words(written map[string][]string) error {
	if len(written) == 0 {
		return nil
	}
	c.job.state.words = make(map[string]intent.Status)
	for _, name := range slices.Sorted(maps.Keys(written)) {
		status, err := statusNamed("state", name)
		if err != nil {
			return err
		}
		for _, word := range written[name] {
			folded := fold(word)
			if folded == "" {
				return specErr("state "+name, "an empty word cannot be told from an absent one: leave it out")
			}
			if other, taken := c.job.state.words[folded]; taken && other != status {
				return specErr("state "+name, "%q already means %s: a word has one meaning, whatever its case", word, strings.ToLower(string(other)))
			}
			c.job.state.words[folded] = status
		}
	}
	return nil
}

// canComplete refuses a state by which no job would ever be done.
func (c *compiler) canComplete() error {
	r := &c.job.state
	if c.spec.Then != nil || r.auto || r.word != nil && r.words == nil {
		return nil
	}
	for _, status := range r.words {
		if status == intent.Completed {
			return nil
		}
	}
	if slices.ContainsFunc(r.rules, func(r rule) bool { return r.status == intent.Completed }) {
		return nil
	}
	return specErr("state", "nothing means completed, so no job would ever be done: add a line such as completed done")
}

// fold makes words comparable: state words differ in case from release to release.
func fold(word string) string { return strings.ToLower(strings.TrimSpace(word)) }

// firstRule gives the verdict of the first rule that holds.
func (r *stateReader) firstRule(v *view) (verdict, error) {
	for _, rule := range r.rules {
		holds, err := rule.when.holds(v)
		if err != nil {
			return verdict{}, err
		}
		if holds {
			return verdict{status: rule.status, outcome: rule.outcome, rule: rule.says, settled: true}, nil
		}
	}
	return verdict{}, nil
}

// read gives the verdict of the state word. Absent is in progress.
func (r *stateReader) read(v *view) (verdict, error) {
	if r.auto {
		return r.autoState(v), nil
	}
	word, err := r.word.text(v)
	if err != nil || fold(word) == "" {
		return verdict{status: intent.InProgress}, err
	}
	if status, ok := r.meaning(word); ok {
		return verdict{status: status, word: word, settled: true}, nil
	}
	return verdict{status: intent.InProgress, unknown: unknownWord(word)}, nil
}

// unknownWord bounds a word that is going to be told and logged.
func unknownWord(word string) string {
	return strings.ToValidUTF8(clip(strings.TrimSpace(word), 128), "")
}

// meaning looks a word up: in the operator's words, or if there are none (or with
// auto, besides them) in the common ones.
func (r *stateReader) meaning(word string) (intent.Status, bool) {
	if status, ok := r.words[fold(word)]; ok {
		return status, true
	}
	if r.words != nil && !r.auto {
		return "", false
	}
	status, ok := commonWords[squeeze(strings.TrimSpace(word))]
	return status, ok
}

// needsNoBody reports whether an answer without a body can tell the state.
func (r *stateReader) needsNoBody() bool {
	if r.auto || r.word.uses(varBody) || r.word.uses(varText) {
		return false
	}
	return !slices.ContainsFunc(r.rules, func(r rule) bool { return r.when.uses(varBody) || r.when.uses(varText) })
}

// statusNames are the words of the config for what a state can mean.
var statusNames = []struct {
	name   string
	status intent.Status
}{
	{"in_progress", intent.InProgress},
	{"completed", intent.Completed},
	{"failed", intent.Failed},
	{"canceled", intent.Canceled},
	{"timed_out", intent.TimedOut},
}

// StatusNames lists the statuses that a job's state can mean, as config writes them.
func StatusNames() []string {
	var names []string
	for _, s := range statusNames {
		names = append(names, s.name)
	}
	return names
}

// ruleOutcomes are the words of rules for answers that tell no state.
var ruleOutcomes = map[string]Outcome{"retry": Unavailable, "gone": Gone}

// RuleNames lists what a rule can say: a status, or that the answer tells none.
func RuleNames() []string {
	return append(StatusNames(), slices.Sorted(maps.Keys(ruleOutcomes))...)
}

func statusNamed(field, name string) (intent.Status, error) {
	for _, s := range statusNames {
		if s.name == name {
			return s.status, nil
		}
	}
	return "", specErr(field, "%q is not a status: write one of %s", name, strings.Join(StatusNames(), ", "))
}

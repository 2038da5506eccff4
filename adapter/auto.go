package adapter

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// autoID looks for a job's id: a name that says job first, wherever it is; then
// an id whatever it is of.
func autoID(v *view) found {
	o, ok := top(v)
	if !ok {
		return found{}
	}
	for _, names := range []map[string]int{jobIDNames, plainIDNames, bareIDNames} {
		if id := o.id(names); id.value != "" {
			return id
		}
		for inner := range o.held(idHolders) {
			if id := inner.id(names); id.value != "" {
				return id
			}
		}
	}
	return found{}
}

func (o object) id(names map[string]int) found {
	for _, key := range o.named(names) {
		switch id := o.fields[key].(type) {
		case string:
			if strings.TrimSpace(id) != "" {
				return found{value: id, expr: o.sub(key)}
			}
		case json.Number:
			if !strings.ContainsAny(id.String(), ".eE-") {
				return found{value: id.String(), expr: o.sub(key)}
			}
		}
	}
	return found{}
}

// autoStatusURLs lists what could be the status URL.
func autoStatusURLs(v *view) iter.Seq[found] {
	return func(yield func(found) bool) {
		for _, name := range statusHeaders {
			value := v.Header.Get(name)
			if value == "" {
				continue
			}
			expr := object{expr: varHeaders}.sub(strings.ToLower(name))
			if !yield(found{value: value, expr: expr, header: true}) {
				return
			}
		}
		o, _ := top(v)
		for _, f := range append(o.texts(urlNames), o.links()...) {
			if looksURL(f.value) && !yield(f) {
				return
			}
		}
	}
}

// looksURL keeps names ("operation": "resize") from being taken for relative URLs.
func looksURL(s string) bool {
	return strings.HasPrefix(s, "/") || strings.Contains(s, "://")
}

// links lists urls.get, _links.self.href and the like.
func (o object) links() []found {
	var all []found
	for links := range o.held(urlHolders) {
		all = append(all, links.texts(linkNames)...)
		for link := range links.held(linkNames) {
			all = append(all, link.texts(ranked("href"))...)
		}
	}
	return all
}

// autoState reads the state from the usual places. In doubt the job goes on: a
// poll too many costs little, an end too early cannot be taken back.
func (r *stateReader) autoState(v *view) verdict {
	v.decode()
	if word, ok := v.body.(string); ok {
		if status, ok := r.meaning(word); ok {
			return verdict{status: status, word: word, settled: true}
		}
	}
	o, ok := top(v)
	if !ok {
		return verdict{status: intent.InProgress}
	}
	said, _ := r.wordIn(o)
	if !said.settled {
		said = settledOr(doneIn(o), said)
	}
	if said.status == intent.Completed {
		return r.doubt(o, said)
	}
	return said
}

// hasState tells whether an answer has a place for the state, were it empty: then its
// code is not where the state is.
func hasState(v *view) bool {
	o, ok := top(v)
	return ok && slices.ContainsFunc(o.named(stateNames), func(key string) bool {
		text, ok := o.fields[key].(string)
		return o.fields[key] == nil || ok && strings.TrimSpace(text) == ""
	})
}

// settledOr is first if that is settled.
func settledOr(first, second verdict) verdict {
	if first.settled {
		return first
	}
	return second
}

// wordIn finds the state word of o, and where it is: at the top, or in what holds
// the job.
func (r *stateReader) wordIn(o object) (verdict, found) {
	said, at := r.pick(o.texts(stateNames))
	envelope := said.status == intent.Completed && slices.Contains(envelopeWords, squeeze(at.value)) && strings.HasSuffix(at.expr, ".status")
	if said.settled && !envelope {
		return said, at
	}
	holding := false
	for _, key := range o.named(jobHolders) {
		_, scalar := scalarText(o.fields[key])
		holding = holding || !scalar
	}
	for inner := range o.around() {
		if inner.expr == o.expr {
			continue
		}
		if innerSaid, innerAt := r.pick(inner.texts(stateNames)); innerSaid.settled {
			return innerSaid, innerAt
		}
	}
	if at == (found{}) {
		said, at = r.unknownIn(o)
	}
	if envelope && holding {
		return verdict{status: intent.InProgress, unknown: at.value}, at
	}
	return said, at
}

// unknownIn finds a word that nobody knows in a state that is an object
// (state.life_cycle_state): anywhere else it may be about something else.
func (r *stateReader) unknownIn(o object) (verdict, found) {
	for inner := range o.held(stateNames) {
		if said, at := r.pick(inner.texts(stateNames)); said.unknown != "" {
			return said, at
		}
	}
	return verdict{status: intent.InProgress}, found{}
}

// pick takes the first word that has a meaning, unless another one says that the
// job goes on.
func (r *stateReader) pick(words []found) (verdict, found) {
	said, at := verdict{status: intent.InProgress}, found{}
	for _, word := range words {
		status, known := r.meaning(word.value)
		switch {
		case !known && !said.settled && said.unknown == "":
			said.unknown, at = unknownWord(word.value), word
		case known && (!said.settled || status == intent.InProgress):
			said, at = verdict{status: status, word: word.value, settled: true}, word
		}
	}
	return said, at
}

// doneIn reads a boolean such as done, with success or error beside it.
func doneIn(o object) verdict {
	done, ok := o.flag(doneNames)
	if !ok {
		// Celery's ready() is a done only beside its successful().
		_, judged := o.flag(successNames)
		if done, ok = o.flag(readyNames); done && !judged {
			ok = false
		}
	}
	if !ok {
		return verdict{}
	}
	if !done {
		return verdict{status: intent.InProgress, settled: true}
	}
	return verdict{status: intent.Completed, settled: true}
}

// doubt looks for what makes a job that is over one that did not succeed, or one
// that is not over.
func (r *stateReader) doubt(o object, said verdict) verdict {
	if done, ok := o.flag(doneNames); ok && !done {
		return verdict{status: intent.InProgress, settled: true}
	}
	if outcomes := o.texts(outcomeNames); len(outcomes) > 0 {
		outcome, _ := r.pick(outcomes)
		if outcome.status != intent.Completed {
			return outcome
		}
	}
	if success, ok := o.flag(successNames); ok && !success {
		return verdict{status: intent.Failed, settled: true}
	}
	if autoFailed(o.fields) {
		return verdict{status: intent.Failed, settled: true}
	}
	return said
}

// autoFailed tells whether an answer carries an error. A list of errors does not
// count: bulk APIs list rows in it that failed while the job did not.
func autoFailed(body any) bool {
	fields, _ := body.(map[string]any)
	o := object{fields: fields}
	for _, key := range o.named(failureNames) {
		switch v := o.fields[key].(type) {
		case []any, json.Number:
		case map[string]any:
			if code, ok := number(v["code"]); len(v) > 0 && (!ok || code != 0) {
				return true
			}
		default:
			if truthy(v) {
				return true
			}
		}
	}
	return false
}

// submitted is what the answer to a submit says about the state, and where.
func (r *stateReader) submitted(v *view) (intent.Status, string) {
	if r.auto {
		o, ok := top(v)
		if !ok {
			return "", ""
		}
		if said, at := r.wordIn(o); said.settled && said.status == intent.InProgress {
			return said.status, at.expr
		}
		return "", ""
	}
	word, err := r.word.text(v)
	if err != nil || word == "" {
		return "", ""
	}
	status, _ := r.meaning(word)
	return status, ""
}

// autoProgress looks for a percentage, a fraction or two counts, and gives the config
// line that would read them.
func autoProgress(v *view) (*float64, string) {
	if o, ok := top(v); ok {
		for place := range o.around() {
			if p, line := place.progress(); p != nil {
				return p, line
			}
		}
	}
	return percentOf(v.Header.Get("X-Progress")), `progress headers["x-progress"]`
}

func (o object) progress() (p *float64, line string) {
	for _, key := range o.named(percentNames) {
		// "progress" is the one name under which a fraction is as common.
		if f, ok := fraction(o.fields[key]); ok && squeeze(key) == "progress" {
			return percent(100 * f), "progress fraction " + o.sub(key)
		}
		if p := percentOf(o.fields[key]); p != nil {
			return p, "progress " + o.sub(key)
		}
	}
	for _, key := range o.named(fractionNames) {
		if f, ok := number(o.fields[key]); ok {
			return percent(100 * f), "progress fraction " + o.sub(key)
		}
	}
	total := o.named(totalCounts)
	for _, key := range o.named(doneCounts) {
		if len(total) > 0 {
			if p := ratio(o.fields[key], o.fields[total[0]]); p != nil {
				return p, "progress count " + o.sub(key) + " " + o.sub(total[0])
			}
		}
	}
	return nil, ""
}

// percentOf reads a percentage: a number, or a text that is one or has a percent
// sign after it ("3/10" is none).
func percentOf(v any) *float64 {
	f, ok := number(v)
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok {
		text := strings.TrimSpace(s)
		if rest := strings.TrimSpace(text[len(numberPrefix(text)):]); rest != "" && rest[0] != '%' {
			return nil
		}
	}
	return percent(f)
}

// fraction reads a number that is written as a part of one: with a decimal point, and
// up to 1.
func fraction(v any) (f float64, ok bool) {
	n, ok := v.(json.Number)
	f, _ = number(n)
	return f, ok && f >= 0 && f <= 1 && strings.Contains(n.String(), ".")
}

// autoMessage looks for a text about what the job is doing.
func autoMessage(v *view) found {
	if o, ok := top(v); ok {
		for place := range o.around() {
			if texts := place.texts(messageNames); len(texts) > 0 {
				return texts[0]
			}
		}
	}
	return found{value: strings.ToValidUTF8(v.Header.Get("X-Progress"), "\uFFFD"), expr: `headers["x-progress"]`}
}

// autoError looks for the reason why a job did not complete, and where it is.
func autoError(v *view) (any, string) {
	if o, ok := top(v); ok {
		for place := range o.around() {
			if reason, expr := place.reason(); reason != nil {
				return reason, expr
			}
		}
	}
	return nil, ""
}

func (o object) reason() (any, string) {
	for _, key := range o.named(errorNames) {
		if v := o.fields[key]; truthy(v) && v != true {
			return v, o.sub(key)
		}
	}
	return nil, ""
}

// backendError makes an error of what the backend gave as one: a text, an object
// with a message, or a list of such.
func backendError(v any, status intent.Status) *intent.Error {
	e := &intent.Error{Code: intent.CodeJobFailed, Category: intent.ByBackend}
	if status != intent.Failed {
		e.Code = strings.ToLower(string(status))
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	if fields, ok := v.(map[string]any); ok {
		if code, ok := scalarText(fields["code"]); ok && code != "" {
			e.Code = code
		}
		e.Message = messageOf(fields)
		return e
	}
	e.Message, _ = scalarText(v)
	return e
}

func messageOf(fields map[string]any) string {
	for _, key := range []string{"message", "detail", "description", "reason", "title", "msg"} {
		if text, ok := fields[key].(string); ok && text != "" {
			return text
		}
	}
	return string(encodeJSON(fields))
}

package engine

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// What an operator is shown of an answer has the values left out of fields that are named
// like secrets, and all texts that look like one. That is a courtesy and no promise: a
// secret in a field of another name, in a shape of its own, is shown.
const hidden = "***"

var (
	secretName = regexp.MustCompile(`(?i)pass(word|wd|phrase)?$|secret|token([-_.]|$)|api[-_.]?key|access[-_.]?key|private[-_.]?key|auth(orization)?$|credential|cookie|session|signature|^sig$|^jwt$|bearer|otp$|^pin$|connection[-_.]?string`)

	secretTexts = []*regexp.Regexp{
		regexp.MustCompile(`(?is)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
		regexp.MustCompile(`(?i)\b(?:bearer|basic|digest)\s+[a-z0-9._~+/=-]{8,}`),
		regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?`), // a JWT
		regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`),
		regexp.MustCompile(`\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|sk_live_|rk_live_|whsec_|r8_|hf_)[A-Za-z0-9_-]{10,}`),
	}
	// A URL's user and password, and what a form, a query or a line of text gives a
	// secret name.
	secretUser   = regexp.MustCompile(`(://)[^/\s"'<>@]+@`)
	secretAssign = regexp.MustCompile(`(?i)((?:[\w.-]*token(?:[-_.][\w.-]*)?|[\w.-]*(?:pass(?:word|wd|phrase)|secret|api[-_.]?key|access[-_.]?key|private[-_.]?key|credential|cookie|session|signature|[?&]sig|x-amz-[a-z-]+|authorization|accountkey)[\w.-]*)"?\s*[=:]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s&"'<>,;}\]]+)`)
	secretMarkup = regexp.MustCompile(`(?i)(<([\w.:-]*(?:password|secret|token|apikey|api-key|credential|signature|session)[\w.:-]*)(?:\s[^<>]*)?>)[^<]*`)
)

// excerpt is the beginning of a text of the backend, at most maxExcerpt bytes, without
// what looks like a secret, and whether there is more. Secrets go first: half of one is
// worth something, too.
func excerpt(body []byte) (text string, more bool) {
	text = hideTexts(hideMembers(bytes.ToValidUTF8(body, []byte("\uFFFD"))))
	if len(text) <= maxExcerpt {
		return text, false
	}
	end := maxExcerpt
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end], true
}

// hideTexts hides what looks like a secret wherever it stands.
func hideTexts(text string) string {
	for _, look := range secretTexts {
		text = look.ReplaceAllString(text, hidden)
	}
	text = secretUser.ReplaceAllString(text, "${1}"+hidden+"@")
	text = secretMarkup.ReplaceAllString(text, "${1}"+hidden)
	return secretAssign.ReplaceAllStringFunc(text, hideAssigned)
}

var namesInExpr = regexp.MustCompile(`[\w-]+`)

// hideReasons hides in reasons what an excerpt of the answer hides: texts that are found
// below a name like a secret's, and what looks like one.
func hideReasons(reasons []adapter.Reason) []adapter.Reason {
	for i := range reasons {
		r := &reasons[i]
		r.Value = hideTexts(r.Value)
		if strings.HasPrefix(r.Value, `"`) && slices.ContainsFunc(namesInExpr.FindAllString(r.Line, -1), secretName.MatchString) {
			r.Value = `"` + hidden + `"`
		}
	}
	return reasons
}

// hideParams is a copy of parameters in which the same is hidden.
func hideParams(params map[string]string) map[string]string {
	shown := maps.Clone(params)
	for name, value := range shown {
		if shown[name] = hideTexts(value); secretName.MatchString(name) {
			shown[name] = hidden
		}
	}
	return shown
}

// hideAssigned hides the value of one assignment, within its quotes.
func hideAssigned(assignment string) string {
	m := secretAssign.FindStringSubmatch(assignment)
	if q := m[2][:1]; q == `"` || q == "'" {
		return m[1] + q + hidden + q
	}
	return m[1] + hidden
}

// hideMembers hides the members of JSON objects that are named like secrets, whatever
// their values are. What follows the first mistake is left as it is.
func hideMembers(body []byte) string {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var b strings.Builder
	copied := int64(0)
	var inObject []bool // of each level
	name := false       // a name comes next
	for {
		t, err := dec.Token()
		if err != nil {
			b.Write(body[copied:])
			return b.String()
		}
		switch t := t.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				inObject = append(inObject, t == '{')
			default:
				inObject = inObject[:len(inObject)-1]
			}
		case string:
			if name && secretName.MatchString(t) {
				from := dec.InputOffset()
				var value json.RawMessage
				if dec.Decode(&value) != nil {
					continue
				}
				b.Write(body[copied:from])
				b.WriteString(`:"` + hidden + `"`)
				copied = dec.InputOffset()
			} else if name {
				name = false
				continue
			}
		}
		name = len(inObject) > 0 && inObject[len(inObject)-1]
	}
}

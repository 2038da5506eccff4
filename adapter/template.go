package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// A template is a path and query, or a header's value, with placeholders.
type template struct {
	src   string
	parts []part
	whole bool // a URL that the backend gave, and nothing else
}

// A part is a literal, or a placeholder if capture is set. escape fits the value
// for where it stands.
type part struct {
	literal string
	capture string // as captureName gives it
	escape  func(string) string
	number  bool // nothing but a number can stand here
}

const (
	jobIDCapture = "job_id"
	paramsPrefix = "params."
)

// Bounds of what comes from a backend and goes into a URL.
const (
	maxID  = 1 << 10
	maxURL = 8 << 10
)

// parseTarget reads the template of a path and query, or of a whole URL.
func parseTarget(src string) (*template, error) {
	if name, ok := strings.CutPrefix(src, "{"); ok {
		if capture, ok := captureName(strings.TrimSuffix(name, "}")); ok && strings.HasPrefix(capture, paramsPrefix) && strings.HasSuffix(src, "}") {
			return &template{src: src, parts: []part{{capture: capture, escape: same}}, whole: true}, nil
		}
	}
	if err := checkTarget(src); err != nil {
		return nil, err
	}
	t := &template{src: src}
	pathPart, query, hasQuery := strings.Cut(src, "?")
	if err := t.parse(pathPart, url.PathEscape, escapeLiteral); err != nil {
		return nil, err
	}
	if hasQuery {
		t.parts = append(t.parts, part{literal: "?"})
		if err := t.parse(query, escapeQuery, escapeLiteral); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func checkTarget(src string) error {
	pathPart, _, _ := strings.Cut(src, "?")
	switch {
	case strings.Contains(src, "://"), strings.HasPrefix(src, "//"):
		return fmt.Errorf("%q names a host: write the path alone, the backend's address stands in the intents block", src)
	case !strings.HasPrefix(src, "/"):
		return fmt.Errorf("%q does not begin with a slash: write a path, such as /reports/status/{job_id}", src)
	case strings.Contains(src, "#"):
		return fmt.Errorf("%q has a fragment, which is never sent: leave it out, or write %%23", src)
	case strings.ContainsFunc(src, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }):
		return fmt.Errorf("%q has a space, a backslash or a control character: write it as %%20 and the like", src)
	case !utf8.ValidString(src):
		return fmt.Errorf("%q is not valid UTF-8", src)
	}
	if _, err := url.PathUnescape(pathPart); err != nil {
		return fmt.Errorf("%q: %w; a percent sign is written %%25", src, err)
	}
	if slices.ContainsFunc(strings.Split(pathPart, "/"), isDots) {
		return fmt.Errorf("%q contains a dot segment: write the path without dot segments", src)
	}
	return nil
}

// parseHeaderValue reads the template of a header.
func parseHeaderValue(src string) *template {
	t := &template{src: src}
	t.parseText(src, func(string) part { return part{escape: same} })
	return t
}

func same(s string) string { return s }

// parseText finds the placeholders in a text. Other braces stay as they are: a token
// may have some, and JSON has. Place gives what fits a value for what it follows.
func (t *template) parseText(src string, place func(before string) part) {
	literal := 0 // where the one under way begins
	for at := 0; at < len(src); at++ {
		if src[at] != '{' {
			continue
		}
		name, _, closed := strings.Cut(src[at+1:], "}")
		capture, ok := captureName(name)
		if !closed || !ok {
			continue
		}
		filled := place(src[:at])
		filled.capture = capture
		t.parts = append(t.parts, part{literal: src[literal:at]}, filled)
		at += len(name) + 1
		literal = at + 1
	}
	t.parts = append(t.parts, part{literal: src[literal:]})
}

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// parseBody reads the template of a body. What a value needs to stand in it is known
// for JSON and for forms.
func parseBody(src, media string) (*template, error) {
	t := &template{src: src}
	switch {
	case !utf8.ValidString(src):
		return nil, fmt.Errorf("%q is not valid UTF-8", src)
	case media == formType:
		t.parseText(src, func(string) part { return part{escape: url.QueryEscape} })
	case isJSON(media):
		t.parseText(src, placeInJSON)
	default:
		if t.parseText(src, placeInJSON); len(t.captures()) > 0 {
			return nil, fmt.Errorf("%q has placeholders, and how to escape them is known for JSON and forms, not for %s", src, media)
		}
	}
	return t, nil
}

// isJSON reports whether a body of this media type is JSON, which one without is.
func isJSON(media string) bool {
	return media == "" || media == jsonType || strings.HasSuffix(media, "+json")
}

// placeInJSON fits a value for JSON: between quotes it is a part of that string, and
// elsewhere it has to be a number.
func placeInJSON(before string) part {
	if withinQuotes(before) {
		return part{escape: escapeJSON}
	}
	return part{escape: same, number: true}
}

// withinQuotes reports whether what follows is a part of a JSON string.
func withinQuotes(before string) bool {
	quoted := false
	for i := 0; i < len(before); i++ {
		switch {
		case quoted && before[i] == '\\':
			i++
		case before[i] == '"':
			quoted = !quoted
		}
	}
	return quoted
}

func isNumber(s string) bool {
	v, err := decodeJSON([]byte(s))
	number, ok := v.(json.Number)
	return err == nil && ok && number.String() == s
}

// parse adds the parts of src, which is a path or a query.
func (t *template) parse(src string, escape, literal func(string) string) error {
	for src != "" {
		open := strings.IndexAny(src, "{}")
		if open < 0 {
			t.parts = append(t.parts, part{literal: literal(src)})
			return nil
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: literal(src[:open])})
		}
		end := strings.IndexByte(src[open:], '}')
		if end <= 0 {
			return fmt.Errorf("%q has a brace without its other half: placeholders are {job_id} and {params.<name>}; a brace is written %%7B or %%7D", t.src)
		}
		name := src[open+1 : open+end]
		capture, ok := captureName(name)
		if !ok {
			return unknownPlaceholder(t.src, name)
		}
		t.parts = append(t.parts, part{capture: capture, escape: escape})
		src = src[open+end+1:]
	}
	return nil
}

// captureName gives what a placeholder stands for: "job_id", "params.<name>" or, in a
// lookup, "idempotency_key".
func captureName(name string) (string, bool) {
	if name == jobIDCapture || name == keyCapture {
		return name, true
	}
	param, ok := strings.CutPrefix(name, paramsPrefix)
	return name, ok && isName(param)
}

func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

func unknownPlaceholder(src, name string) error {
	known := "the placeholders here are {job_id} and {params.<name>}"
	squeezed := squeeze(name)
	switch {
	case squeezed == "id" || squeezed == "jobid" || squeezed == "taskid":
		return fmt.Errorf("%q: {%s} is unknown: write {job_id}", src, name)
	case isName(name) && !slices.Contains([]string{"file", "path", "query", "uri", "host", "method", "dir", "header", "remote"}, name):
		return fmt.Errorf("%q: {%s} is unknown: %s", src, name, known)
	}
	return fmt.Errorf("%q: {%s} is unknown: %s, and Caddy's own do not work in a path", src, name, known)
}

// captures lists what the template needs.
func (t *template) captures() []string {
	if t == nil {
		return nil
	}
	var names []string
	for _, p := range t.parts {
		if p.capture != "" {
			names = append(names, p.capture)
		}
	}
	return names
}

// A job's values for the placeholders.
type captured struct {
	jobID  string
	params map[string]string
}

func (c captured) value(name string) string {
	switch name {
	case jobIDCapture:
		return c.jobID
	case keyCapture:
		return c.params[keyParam]
	}
	return c.params[strings.TrimPrefix(name, paramsPrefix)]
}

// expand puts the values in their places. A value that could change the meaning of
// the URL around it is refused, not repaired: the id would be another one.
func (t *template) expand(c captured) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.capture == "" {
			b.WriteString(p.literal)
			continue
		}
		value := c.value(p.capture)
		if err := checkValue(value); err != nil {
			return "", fmt.Errorf("{%s}: %w", p.capture, err)
		}
		if p.number && !isNumber(value) {
			return "", fmt.Errorf("{%s}: is not a number, and stands outside of quotes", p.capture)
		}
		b.WriteString(p.escape(value))
	}
	return b.String(), nil
}

// expandTarget is expand for a URL: no segment may become a dot segment either.
func (t *template) expandTarget(c captured) (string, error) {
	target, err := t.expand(c)
	if err != nil {
		return "", err
	}
	return target, checkExpanded(target)
}

func checkExpanded(target string) error {
	pathPart, _, _ := strings.Cut(target, "?")
	if decoded, err := url.PathUnescape(pathPart); err != nil || climbs(decoded) {
		return errDots
	}
	if len(target) > maxURL {
		return errLong
	}
	return nil
}

var (
	errDots = errors.New("contains a dot segment")
	errLong = errors.New("is too long")
)

// checkValue tells whether a job id or a parameter can be used. Escaped slashes
// are fine, but many servers unescape before they clean a path, so dot segments
// between such slashes are not.
func checkValue(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > maxID:
		return errLong
	case !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(s, isControl):
		return errors.New("contains a control character")
	case climbs(s):
		return errDots
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f }

// climbs tells whether a decoded path contains a dot segment, for any server's
// idea of what separates segments and of parameters in them (..;x).
func climbs(path string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }), isDots)
}

func isDots(segment string) bool {
	segment, _, _ = strings.Cut(segment, ";")
	segment = strings.ToLower(segment)
	segment = strings.ReplaceAll(segment, "%2e", ".")
	return segment == "." || segment == ".."
}

func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// escapeLiteral escapes what cannot stand in a request line and leaves alone what
// the author of a template, or a backend, has escaped.
func escapeLiteral(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

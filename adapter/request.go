package adapter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Request is one to be sent to the backend.
type Request struct {
	Method string
	URL    string      // path and query
	Header http.Header // the Spec's own, to be set over those that every request carries
	Body   []byte
}

// An endpoint is a compiled Endpoint. Its target is nil if the URL comes from
// elsewhere.
type endpoint struct {
	method string
	target *template
	header []headerLine
	body   *template
	accept []int
	over   []int
}

type headerLine struct {
	name  string
	value *template
}

func (c *compiler) endpoint(field string, e *Endpoint, method string) (*endpoint, error) {
	if e.Body != "" {
		method = http.MethodPost
	}
	compiled := endpoint{method: cmp.Or(e.Method, method), accept: e.Accept, over: e.Over}
	if err := checkMethod(field, compiled.method); err != nil {
		return nil, err
	}
	if e.Target != "" {
		target, err := parseTarget(e.Target)
		if err != nil {
			return nil, &SpecError{Field: field, Err: err}
		}
		if err := c.checkCaptures(field, target); err != nil {
			return nil, err
		}
		compiled.target = target
	}
	if err := checkCodes(field, e); err != nil {
		return nil, err
	}
	var err error
	if compiled.header, err = c.headerLines(field, e.Header); err != nil {
		return nil, err
	}
	return &compiled, c.body(field, e, &compiled)
}

func (c *compiler) headerLines(field string, header http.Header) ([]headerLine, error) {
	var lines []headerLine
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			line, err := c.headerLine(field, name, value)
			if err != nil {
				return nil, err
			}
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// checkCodes checks what only a cancel has.
func checkCodes(field string, e *Endpoint) error {
	for _, list := range []struct {
		word  string
		codes []int
	}{{"accept", e.Accept}, {"over", e.Over}} {
		for _, code := range list.codes {
			switch {
			case !strings.HasSuffix(field, "cancel"):
				return specErr(field+" "+list.word, "is for cancel alone: leave it out")
			case code < 200 || code > 599:
				return specErr(field+" "+list.word, "%d is not the code of an answer: write one from 200 to 599", code)
			case list.word == "over" && slices.Contains(e.Accept, code):
				return specErr(field+" over", "%d is in accept already: a code has one meaning", code)
			}
		}
	}
	return nil
}

func (c *compiler) body(field string, e *Endpoint, compiled *endpoint) error {
	if e.Body == "" {
		return nil
	}
	field += " body"
	if err := checkPlaceholders(field, e.Body); err != nil {
		return err
	}
	media := mediaTypeOf(e.Header)
	body, err := parseBody(e.Body, media)
	if err != nil {
		return &SpecError{Field: field, Err: err}
	}
	compiled.body = body
	if media == "" {
		compiled.header = append(compiled.header, headerLine{name: "Content-Type", value: parseHeaderValue(jsonType)})
	}
	return c.checkCaptures(field, body)
}

// mediaTypeOf is the Content-Type that an operator wrote, without parameters.
func mediaTypeOf(header http.Header) string {
	for name, values := range header {
		if strings.EqualFold(name, "Content-Type") && len(values) > 0 {
			media, _, _ := strings.Cut(values[0], ";")
			return strings.ToLower(strings.TrimSpace(media))
		}
	}
	return ""
}

func (c *compiler) headerLine(of, name, value string) (headerLine, error) {
	field := of + " header " + name
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !isToken(name):
		return headerLine{}, specErr(of+" header", "%q is not a header's name", name)
	case slices.Contains(ownHeaders, canonical):
		return headerLine{}, specErr(field, "is set by the proxy itself: leave it out")
	case strings.ContainsFunc(value, unicode.IsControl):
		return headerLine{}, specErr(field, "its value contains a control character")
	}
	if name := caddyPlaceholder(value); name != "" { // the value may be a secret
		return headerLine{}, specErr(field, "{%s} was not replaced: only {env.<name>}, {file.<path>} and the like that are known when the config is loaded can be used, besides {job_id} and {params.<name>}", name)
	}
	line := headerLine{name: canonical, value: parseHeaderValue(value)}
	return line, c.checkCaptures(field, line.value)
}

// ownHeaders frame the message or say where it goes.
var ownHeaders = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te", "Keep-Alive"}

// checkPlaceholders refuses in a body what is replaced in headers only.
func checkPlaceholders(field, body string) error {
	if name := caddyPlaceholder(body); name != "" {
		return specErr(field, "{%s} is not replaced in a body: send it in a header, such as header Authorization {%s}, or write {$NAME} for what the environment has when the Caddyfile is read", name, name)
	}
	return nil
}

// caddyPlaceholder finds a placeholder that only Caddy could have replaced.
func caddyPlaceholder(value string) string {
	for _, namespace := range []string{"http.", "env.", "file.", "vars.", "system.", "time."} {
		if _, rest, ok := strings.Cut(value, "{"+namespace); ok {
			if name, _, ok := strings.Cut(rest, "}"); ok {
				return namespace + name
			}
		}
	}
	return ""
}

func checkMethod(field, method string) error {
	if !isToken(method) || method != strings.ToUpper(method) {
		return specErr(field, "%q is not an HTTP method: write GET, POST or another in capitals", method)
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// request fills in an endpoint for one job. Without a target of its own it goes to
// the URL given.
func (e *endpoint) request(what string, in *intent.Intent, known hosts, target string) (Request, error) {
	values := captured{jobID: in.JobID, params: in.Params}
	var err error
	switch {
	case e.target == nil:
	case e.target.whole:
		target, err = known.accept(values.value(e.target.parts[0].capture), originOf(in))
	default:
		target, err = e.target.expandTarget(values)
	}
	if err != nil {
		return Request{}, fmt.Errorf("making the %s request: %w", what, err)
	}
	if target == "" {
		return Request{}, fmt.Errorf("making the %s request: %w", what, errNoURL)
	}
	r := Request{Method: e.method, URL: target}
	if r.Header, err = expandHeader(e.header, values); err != nil {
		return Request{}, fmt.Errorf("making the %s request: %w", what, err)
	}
	if e.body != nil {
		body, err := e.body.expand(values)
		if err != nil {
			return Request{}, fmt.Errorf("making the %s request: body: %w", what, err)
		}
		r.Body = []byte(body)
	}
	return r, nil
}

// expandHeader puts the values in their places in a header.
func expandHeader(lines []headerLine, values captured) (http.Header, error) {
	h := make(http.Header, len(lines))
	for _, line := range lines {
		value, err := line.value.expand(values)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", line.name, err)
		}
		h.Add(line.name, value)
	}
	return h, nil
}

var errNoURL = errors.New("its URL is not known")

// captures reports whether a placeholder stands anywhere in the request.
func (e *endpoint) captures(name string) bool {
	templates := []*template{e.target, e.body}
	for _, line := range e.header {
		templates = append(templates, line.value)
	}
	for _, t := range templates {
		if slices.Contains(t.captures(), name) {
			return true
		}
	}
	return false
}

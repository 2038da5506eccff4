package adapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Answer is one response of the backend.
type Answer struct {
	Code   int
	Header http.Header
	Body   []byte
	Cut    bool      // the body is longer than Body, or broke off
	At     time.Time // when it came; needed only for a Retry-After date from a backend that sends no Date
}

// A view is an answer as expressions see it. What is costly to make is made when
// somebody asks for it, and once.
type view struct {
	Answer
	params   map[string]string
	asked    []byte // the body of the submit
	captured bool   // asked is known
	final    bool   // whatever it says, it is a final status answer

	element bool // it is a part of an answer: body is given, and Body made of it
	decoded bool
	kind    bodyKind
	body    any
	problem string // why the body cannot be read

	request   any
	requested bool

	headers map[string]string
	text    string
}

type bodyKind uint8

const (
	emptyBody bodyKind = iota
	jsonBody
	xmlBody
	opaqueBody // a text, HTML, or something broken
)

const htmlProblem = "HTML"

func (k bodyKind) structured() bool { return k == jsonBody || k == xmlBody }

// The names that an expression can use.
const (
	varCode    = "code"
	varHeaders = "headers"
	varBody    = "body"
	varText    = "text"
	varParams  = "params"
	varRequest = "request"
)

// resolve gives the value of a name, and whether it has one.
func (v *view) resolve(name string) (any, bool) {
	switch name {
	case varCode:
		return json.Number(strconv.Itoa(v.Code)), true
	case varHeaders:
		return v.headerMap(), true
	case varBody:
		return v.body, v.decode().structured()
	case varText:
		if v.text == "" {
			v.text = string(bytes.ToValidUTF8(v.raw(), []byte("\uFFFD")))
		}
		return v.text, true
	case varParams:
		return v.params, true
	case varRequest:
		return v.requestValue()
	}
	return nil, false
}

// raw is the body as it came, or as it would have.
func (v *view) raw() []byte {
	if v.element && v.Body == nil {
		v.Body = encodeJSON(v.body)
	}
	return v.Body
}

// decode reads the body by what it is: backends serve JSON as text/plain, and XML
// as anything.
func (v *view) decode() bodyKind {
	if !v.decoded {
		v.decoded = true
		v.body, v.kind, v.problem = decodeBody(v.Answer)
	}
	return v.kind
}

func decodeBody(a Answer) (any, bodyKind, string) {
	if a.Cut {
		return nil, opaqueBody, "body is too long or broke off"
	}
	raw := trimBody(a.Body)
	switch {
	case len(raw) == 0:
		return nil, emptyBody, "empty body"
	case looksHTML(a.Header, raw):
		return nil, opaqueBody, htmlProblem
	case raw[0] == '<':
		return decodeMarkup(raw)
	}
	v, err := decodeJSON(raw)
	switch {
	case errors.Is(err, errDeep):
		return nil, opaqueBody, err.Error()
	case err != nil:
		return nil, opaqueBody, "not JSON"
	}
	return v, jsonBody, ""
}

// decodeMarkup reads XML. XHTML is well-formed and yet no status: it is what a
// login page looks like.
func decodeMarkup(raw []byte) (any, bodyKind, string) {
	root, err := decodeXML(raw)
	if err != nil {
		return nil, opaqueBody, "neither JSON nor XML"
	}
	for name := range root {
		if strings.EqualFold(name, "html") {
			return nil, opaqueBody, htmlProblem
		}
	}
	return root, xmlBody, ""
}

// trimBody removes white space and the byte order mark that some frameworks write.
func trimBody(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
}

func looksHTML(h http.Header, raw []byte) bool {
	if raw[0] != '<' {
		return false
	}
	if strings.Contains(strings.ToLower(h.Get("Content-Type")), "html") {
		return true
	}
	start := bytes.ToLower(raw[:min(len(raw), 64)])
	return bytes.HasPrefix(start, []byte("<!doctype html")) || bytes.HasPrefix(start, []byte("<html"))
}

func (v *view) headerMap() map[string]string {
	if v.headers == nil {
		v.headers = make(map[string]string, len(v.Header))
		for name, values := range v.Header {
			name = strings.ToLower(name)
			if before, ok := v.headers[name]; ok { // a map that was not built by Set or Add
				values = append(slices.Clone(values), before)
			}
			v.headers[name] = strings.Join(values, ", ")
		}
	}
	return v.headers
}

// requestValue is the submit's body: JSON or XML as body is, any other as a text.
func (v *view) requestValue() (any, bool) {
	if !v.captured {
		return nil, false
	}
	if !v.requested {
		v.requested = true
		value, kind, _ := decodeBody(Answer{Body: v.asked})
		if !kind.structured() {
			value = string(bytes.ToValidUTF8(v.asked, []byte("\uFFFD")))
		}
		v.request = value
	}
	return v.request, true
}

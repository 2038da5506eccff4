package probe

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// A Replay answers with what was captured, in its order, and lets no time pass.
//
// A capture is a text in sections. "-- submit --" begins the one with the request
// that starts a job and its answer, each as on the wire; "-- poll --" and
// "-- fetched --" begin those with one answer. What follows a dash in a name is a
// comment (poll-1), and other sections are skipped.
type Replay struct {
	Submit  adapter.Request // the request of the capture
	Host    string          // its Host, "" if it is not told
	answers []adapter.Answer
	next    int
}

// maxCapture bounds what is read of a capture.
const maxCapture = 16 << 20

// ParseReplay reads a capture.
func ParseReplay(text string) (*Replay, error) {
	if len(text) > maxCapture {
		return nil, fmt.Errorf("the capture is longer than %d MiB", maxCapture>>20)
	}
	r := new(Replay)
	for _, s := range sections(strings.ReplaceAll(text, "\r\n", "\n")) {
		var err error
		kind, _, _ := strings.Cut(s.name, "-")
		switch {
		case kind == "submit" && r.Submit.URL == "":
			err = r.parseSubmit(s.text)
		case kind == "submit", kind == "poll", kind == "fetched":
			if kind == "submit" {
				return nil, fmt.Errorf("line %d: there is a submit already: a capture is of one job", s.line)
			}
			if r.Submit.URL == "" {
				return nil, fmt.Errorf("line %d: the first section is not -- submit --", s.line)
			}
			err = r.parseAnswer(s.text)
		}
		if err != nil {
			return nil, fmt.Errorf("section %s, line %d: %w", s.name, s.line, err)
		}
	}
	if r.Submit.URL == "" {
		return nil, fmt.Errorf("there is no section -- submit --")
	}
	return r, nil
}

// A section of a capture, and the line it begins at.
type section struct {
	name, text string
	line       int
}

func sections(text string) []section {
	var all []section
	line := 0
	for l := range strings.Lines(text) {
		line++
		name, opened := strings.CutPrefix(strings.TrimRight(l, "\n"), "-- ")
		name, closed := strings.CutSuffix(name, " --")
		switch {
		case opened && closed:
			all = append(all, section{name: name, line: line})
		case len(all) > 0:
			all[len(all)-1].text += l
		}
	}
	return all
}

// parseSubmit reads a request, then its answer.
func (r *Replay) parseSubmit(text string) error {
	request, answer, found := strings.Cut("\n"+text, "\nHTTP/")
	if !found {
		return fmt.Errorf("there is no answer: write HTTP/1.1 202 Accepted, its headers, an empty line and its body below the request")
	}
	head, body, _ := strings.Cut(strings.TrimPrefix(request, "\n"), "\n\n")
	first, headers, _ := strings.Cut(head, "\n")
	words := strings.Fields(first)
	if len(words) < 2 {
		return fmt.Errorf("there is no request: write POST /path above the answer")
	}
	target, err := url.Parse(words[1])
	if err != nil || !strings.HasPrefix(target.Path, "/") {
		return fmt.Errorf("%q is no path", words[1])
	}
	header, err := parseHeader(headers)
	if err != nil {
		return err
	}
	r.Host = target.Host
	if r.Host == "" {
		r.Host = header.Get("Host")
	}
	r.Submit = adapter.Request{Method: words[0], URL: target.RequestURI(), Header: header, Body: []byte(strings.TrimSpace(body))}
	return r.parseAnswer("HTTP/" + answer)
}

func (r *Replay) parseAnswer(text string) error {
	head, body, _ := strings.Cut(text, "\n\n")
	first, headers, _ := strings.Cut(head, "\n")
	words := strings.Fields(first)
	if len(words) < 2 || !strings.HasPrefix(words[0], "HTTP/") {
		return fmt.Errorf("there is no answer: write HTTP/1.1 200 OK, its headers, an empty line and its body")
	}
	code, err := strconv.Atoi(words[1])
	if err != nil || code < 100 || code > 599 {
		return fmt.Errorf("%q is no status code", words[1])
	}
	header, err := parseHeader(headers)
	if err != nil {
		return err
	}
	// A capture ends its lines; a body does not have to.
	r.answers = append(r.answers, adapter.Answer{Code: code, Header: header, Body: []byte(strings.TrimSuffix(body, "\n"))})
	return nil
}

func parseHeader(text string) (http.Header, error) {
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimRight(text, "\n") + "\n\n"))).ReadMIMEHeader()
	if err != nil && strings.TrimSpace(text) != "" {
		return nil, fmt.Errorf("reading headers: %w", err)
	}
	return http.Header(header), nil
}

// Do implements Backend.
func (r *Replay) Do(context.Context, adapter.Request) (adapter.Answer, error) {
	if r.next == len(r.answers) {
		return adapter.Answer{}, ErrOver
	}
	r.next++
	return r.answers[r.next-1], nil
}

// Wait implements Backend.
func (r *Replay) Wait(context.Context, time.Duration) error { return nil }

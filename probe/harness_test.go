package probe_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/probe"
)

const submitted = "-- submit --\nPOST /jobs\n\nHTTP/1.1 202 Accepted\n\n{\"id\":\"7\"}\n"

// polled is a section with an answer.
func polled(code int, body string) string {
	return "-- poll --\nHTTP/1.1 " + strconv.Itoa(code) + " " + http.StatusText(code) + "\n\n" + body + "\n"
}

// replay probes a capture by a spec, whose submit is that of the capture.
func replay(t *testing.T, spec adapter.Spec, capture string) *probe.Report {
	t.Helper()
	r, err := probe.ParseReplay(strings.TrimPrefix(capture, "\n"))
	require.NoError(t, err)
	spec.Submit = adapter.Route{Method: r.Submit.Method, Path: r.Submit.URL}
	report, err := probe.Probe{Spec: spec, Submit: r.Submit, Host: "api.example.com", Scheme: "https", Backend: r, Linger: 6 * time.Second}.Run(t.Context())
	require.NoError(t, err)
	return report
}

// run probes a scripted backend for a minute.
func run(t *testing.T, backend *scripted, spec adapter.Spec) *probe.Report {
	t.Helper()
	base := &url.URL{Scheme: "http", Host: "127.0.0.1:9000"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	report, err := probe.Probe{
		Spec:     spec,
		Submit:   adapter.Request{Method: "POST", URL: "/jobs", Body: []byte("{}")},
		Host:     base.Host,
		Scheme:   base.Scheme,
		Backend:  &probe.Live{Base: base, Timeout: 10 * time.Second, Transport: backend},
		Interval: time.Second,
		Linger:   6 * time.Second,
	}.Run(ctx)
	require.NoError(t, err)
	return report
}

// A scripted backend answers "<code> <location>|<body>", the last one for ever, or "never".
type scripted struct {
	answers map[string][]string
	hosts   []string
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	s.hosts = append(s.hosts, r.URL.Host)
	key := r.Method + " " + r.URL.Path
	script := s.answers[key]
	if len(script) == 0 {
		script = []string{"404 |"}
	} else if len(script) > 1 {
		s.answers[key] = script[1:]
	}
	head, body, _ := strings.Cut(script[0], "|")
	code, location, _ := strings.Cut(head, " ")
	if code == "never" {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	status, err := strconv.Atoi(code)
	header := http.Header{}
	if location != "" {
		header.Set("Location", location)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, err
}

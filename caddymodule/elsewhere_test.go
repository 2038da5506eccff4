package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A lure is a backend that names URLs elsewhere, beside servers that must never be
// asked: on another port, and on another address of this machine.
type lure struct {
	*site
	strangers []string
	bitten    atomic.Int32

	mu        sync.Mutex
	submitted func(w http.ResponseWriter)                  // answers submits
	asked     func(w http.ResponseWriter, r *http.Request) // answers all else
	targets   []string                                     // of all else
}

// newLure serves all hosts, with a job of these lines.
func newLure(t *testing.T, lines string) *lure {
	l := &lure{site: newSite(t)}
	for _, address := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		listener, err := net.Listen("tcp", address)
		require.NoError(t, err)
		stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { l.bitten.Add(1) }))
		stranger.Listener.Close()
		stranger.Listener = listener
		stranger.Start()
		t.Cleanup(stranger.Close)
		l.strangers = append(l.strangers, listener.Addr().String())
	}
	backend := httptest.NewServer(l)
	t.Cleanup(backend.Close)
	l.to = backend.Listener.Addr().String()
	l.toEveryHost()
	l.serve(`intents TO {
		allow_host jobs.internal ported.internal:8443 2001:db8::5 [2001:db8::6]:90 job1:8000 10.0.0.5:80
		job lure {
			submit POST /v1/jobs/new
			poll 100ms {
				first 50ms
			}
			` + lines + `
		}
	}`)
	return l
}

func (l *lure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Method == http.MethodPost {
		l.submitted(w)
		return
	}
	l.targets = append(l.targets, r.RequestURI)
	l.asked(w, r)
}

// names starts a job that the backend names so, and returns its intent's id, "" if
// there is none.
func (l *lure) names(body any) string {
	l.t.Helper()
	answer, err := json.Marshal(body)
	require.NoError(l.t, err)
	l.mu.Lock()
	l.submitted = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(answer)
	}
	l.mu.Unlock()
	r, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, "http://"+l.addr+"/v1/jobs/new", strings.NewReader(`{}`))
	require.NoError(l.t, err)
	r.Host = "api.example.com"
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(l.t, err)
	require.Equal(l.t, string(answer), withoutOurs(text(l.t, resp)))
	return resp.Header.Get("Intent-Id")
}

// withoutOurs is an answer without what was merged into it.
func withoutOurs(body string) string {
	body, ours, merged := strings.Cut(body, `,"intent_id":`)
	if merged && strings.HasSuffix(ours, "}") {
		body += "}"
	}
	return body
}

func done(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"status":"done"}`) }

func TestURLsElsewhereLeadToTheBackendOrNowhere(t *testing.T) {
	l := newLure(t, "status_url body.url")
	l.asked = done
	file, err := os.ReadFile("../adapter/testdata/urls.txt")
	require.NoError(t, err)
	var vectors strings.Builder
	vectors.Write(file)
	for _, stranger := range l.strangers {
		_, port, _ := strings.Cut(stranger, ":")
		fmt.Fprintf(&vectors, "%q /stranger\n%q /stranger\n%q /stranger\n", "http://"+stranger+"/stranger", "//"+stranger+"/stranger", "http://localhost:"+port+"/stranger")
		fmt.Fprintf(&vectors, "%q refused: user\n", "http://api.example.com@"+stranger+"/stranger")
	}
	var wanted, ids []string
	accepted, refused := 0, 0
	for line := range strings.Lines(vectors.String()) {
		quoted, err := strconv.QuotedPrefix(line)
		raw, _ := strconv.Unquote(quoted)
		if err != nil || !utf8.ValidString(raw) { // a comment, or what JSON cannot say
			continue
		}
		want := strings.TrimSpace(strings.TrimPrefix(line, quoted))
		id := l.names(map[string]string{"job_id": strconv.Itoa(accepted), "url": raw})
		if strings.HasPrefix(want, "refused: ") {
			refused++
			require.Empty(t, id, line)
			continue
		}
		accepted++
		require.NotEmpty(t, id, line)
		ids = append(ids, id)
		wanted = append(wanted, want)
	}
	for _, id := range ids {
		l.observe(id).until(intent.Completed)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	unique := func(targets []string) []string {
		slices.Sort(targets)
		return slices.Compact(targets)
	}
	require.Equal(t, unique(wanted), unique(l.targets))
	require.Zero(t, l.bitten.Load())
	require.Greater(t, accepted+refused, 200)
	t.Logf("%d URLs: %d led to the backend, %d nowhere", accepted+refused, accepted, refused)
}

// TestNoRedirectIsFollowed: of a status, a cancel or a result. A job's name says what is
// redirected, and how.
func TestNoRedirectIsFollowed(t *testing.T) {
	l := newLure(t, `status GET /status/{job_id}
		cancel DELETE /cancel/{job_id}
		result fetch GET /result/{job_id}
		state body.status {
			completed done
		}`)
	redirected := make(map[string]int) // under l.mu
	l.asked = func(w http.ResponseWriter, r *http.Request) {
		asked, job, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		stage, code, _ := strings.Cut(job, "-")
		switch {
		case asked == stage && redirected[job] < 2:
			redirected[job]++
			w.Header().Set("Location", "http://"+l.strangers[redirected[job]%2]+"/")
			number, _ := strconv.Atoi(code)
			w.WriteHeader(number)
		case stage == "cancel" && redirected[job] == 0:
			_, _ = fmt.Fprint(w, `{"status":"running"}`)
		default:
			done(w, r)
		}
	}
	ids := make(map[string]string)
	for _, code := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		for _, stage := range []string{"status", "cancel", "result"} {
			job := fmt.Sprintf("%s-%d", stage, code)
			ids[job] = l.names(map[string]string{"job_id": job})
			if stage == "cancel" {
				text(t, l.do("DELETE", "/v1/intents/"+ids[job], ""))
			}
		}
	}
	for job, id := range ids {
		stream := text(t, l.do("GET", "/v1/intents/"+id+"/events/stream", ""))
		require.Regexp(t, `event: intent\.(completed|canceled)`, stream, job)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Len(t, redirected, len(ids))
	require.Zero(t, l.bitten.Load())
	t.Logf("%d jobs", len(ids))
}

//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// A fleet is Caddys that share a Redis, in front of one backend.
type fleet struct {
	t       *testing.T
	backend *legacytest.Backend
	to      string // the backend's address
	all     []*ship

	storeLines string // of the config
	jobLines   string // more of the job's
	scopeLines string // of the handler
}

// A ship is one of them. Its polls carry its name.
type ship struct {
	*caddytest.Process
	name, addr string
}

// term is that of the leases.
const term = 15 * time.Second

// newFleet starts so many Caddys on a server, or on what storeLines say instead.
func newFleet(t *testing.T, n int, storeLines string) *fleet {
	t.Helper()
	f := harbor(t, n, storeLines)
	f.start()
	return f
}

// harbor is newFleet without a start.
func harbor(t *testing.T, n int, storeLines string) *fleet {
	t.Helper()
	f := &fleet{t: t, backend: legacytest.New(), storeLines: storeLines}
	f.build(n, f.routes())
	return f
}

// newFleetBefore starts a fleet in front of another backend, with more lines for its jobs.
func newFleetBefore(t *testing.T, backend http.Handler, n int, storeLines, jobLines string) *fleet {
	t.Helper()
	f := &fleet{t: t, storeLines: storeLines, jobLines: jobLines}
	f.build(n, backend)
	f.start()
	return f
}

// build makes so many Caddys in front of a backend.
func (f *fleet) build(n int, backend http.Handler) {
	f.t.Helper()
	server := httptest.NewServer(backend)
	f.t.Cleanup(server.Close)
	f.to = server.Listener.Addr().String()
	for i := range n {
		s := &ship{Process: caddytest.NewProcess(f.t), name: string(rune('a' + i)), addr: caddytest.FreeAddr(f.t)}
		f.configure(s, f.storeLines, ordinary)
		f.all = append(f.all, s)
	}
}

func (f *fleet) start() {
	f.t.Helper()
	var started sync.WaitGroup
	for _, s := range f.all {
		started.Go(s.Start)
	}
	started.Wait()
}

func onRedis(server *redistest.Server) string { return "store redis redis://" + server.Addr }

// An errand is a job of the config, what its URLs begin with, and more of its lines.
type errand struct{ job, under, lines string }

var (
	ordinary = errand{job: "report"}
	renamed  = errand{job: "renamed"} // the same at the backend
	steady   = errand{job: "steady", under: "/steady"}
)

// routes have the backend at its own paths and below another one, for two jobs.
func (f *fleet) routes() http.Handler {
	m := http.NewServeMux()
	m.Handle("/", f.backend)
	m.Handle(steady.under+"/", http.StripPrefix(steady.under, f.backend))
	return m
}

func (f *fleet) configure(s *ship, storeLines string, errands ...errand) {
	var jobs strings.Builder
	for _, e := range errands {
		jobs.WriteString(strings.NewReplacer("JOB", e.job, "UNDER", e.under, "NAME", s.name, "MORE", f.jobLines+"\n"+e.lines).Replace(`
		job JOB {
			submit POST UNDER/reports/generate
			status GET UNDER/reports/status/{job_id} {
				header X-Replica NAME
			}
			cancel DELETE UNDER/reports/status/{job_id}
			poll 200ms {
				first 50ms
			}
			MORE
		}`))
	}
	_, port, _ := strings.Cut(s.addr, ":")
	s.Configure(strings.NewReplacer("ADMIN", s.Admin, "PORT", port, "TO", f.to, "STORE", storeLines, "SCOPE", f.scopeLines, "JOBS", jobs.String()).Replace(`{
	admin ADMIN
	persist_config off
	intents {
		secret 0123456789abcdef0123456789abcdef
		STORE
	}
}
http://:PORT {
	bind 127.0.0.1
	intents TO {
		SCOPE
		limits {
			rate 2000
		}
		JOBS
	}
}
`))
}

// post submits a job as a client would. The intent is "" if there is none.
func (f *fleet) post(at *ship, headers ...string) (id string, resp *http.Response, body string) {
	f.t.Helper()
	return f.postFor(ordinary, at, headers...)
}

func (f *fleet) postFor(e errand, at *ship, headers ...string) (id string, resp *http.Response, body string) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), "POST", "http://"+at.addr+e.under+"/reports/generate", strings.NewReader(`{}`))
	require.NoError(f.t, err)
	r.Host = "api.example.com" // whichever of them a balancer chooses
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err = http.DefaultClient.Do(r)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	return resp.Header.Get("Intent-Id"), resp, string(text)
}

// submit makes an intent and returns its id and the job's.
func (f *fleet) submit(at *ship) (id, job string) {
	f.t.Helper()
	return f.submitFor(ordinary, at)
}

func (f *fleet) submitFor(e errand, at *ship) (id, job string) {
	f.t.Helper()
	id, resp, body := f.postFor(e, at)
	require.NotEmpty(f.t, id, "answer %d %s: %s", resp.StatusCode, body, at.Log)
	var said struct {
		JobID string `json:"job_id"`
	}
	require.NoError(f.t, json.Unmarshal([]byte(body), &said))
	return id, said.JobID
}

// get asks a ship for an intent.
func (f *fleet) get(at *ship, id string) (code int, in map[string]any) {
	f.t.Helper()
	resp, err := http.Get("http://" + at.addr + "/v1/intents/" + id)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	var body struct{ Intent map[string]any }
	_ = json.NewDecoder(resp.Body).Decode(&body)
	return resp.StatusCode, body.Intent
}

// pollers are who polled a job since a moment, and how often.
func (f *fleet) pollers(job string, since time.Time) map[string]int {
	by := make(map[string]int)
	for _, a := range f.backend.AskedFor("GET", "/reports/status/"+job) {
		if name := a.Header.Get("X-Replica"); name != "" && a.At.After(since) {
			by[name]++
		}
	}
	return by
}

// poller waits until a job is polled and returns who does.
func (f *fleet) poller(job string, since time.Time) *ship {
	f.t.Helper()
	var found *ship
	require.Eventually(f.t, func() bool {
		by := f.pollers(job, since)
		for _, s := range f.all {
			if by[s.name] > 0 {
				found = s
			}
		}
		return found != nil
	}, 60*time.Second, 20*time.Millisecond, "nobody polls %s", job)
	return found
}

// A lookout is an observer that comes back when it is cut, to the next of some ships.
type lookout struct {
	f    *fleet
	id   string
	over sync.WaitGroup

	mu     sync.Mutex
	events []intent.Event
	at     []time.Time // when each came
	resets int
	fault  string
	cut    time.Time     // when the stream broke last, until it is back
	away   time.Duration // the longest that it was
	status intent.Status // as of the last event, or reset
}

func (f *fleet) observe(id string, from ...*ship) *lookout {
	l := &lookout{f: f, id: id}
	l.over.Go(func() {
		last := int64(0)
		for n := 0; f.t.Context().Err() == nil; n++ {
			if l.once(from[n%len(from)], &last) {
				return
			}
			<-time.After(20 * time.Millisecond) // as a client waits before it comes back
		}
	})
	f.t.Cleanup(l.over.Wait)
	return l
}

// once follows the stream until it ends or breaks.
func (l *lookout) once(from *ship, last *int64) (done bool) {
	r, err := http.NewRequestWithContext(l.f.t.Context(), "GET", "http://"+from.addr+"/v1/intents/"+l.id+"/events/stream", nil)
	if err != nil {
		return true
	}
	if *last > 0 {
		r.Header.Set("Last-Event-ID", strconv.FormatInt(*last, 10))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false // it is away
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return true
	case http.StatusServiceUnavailable:
		return false
	case http.StatusOK:
		l.back()
	default:
		l.find(fmt.Sprintf("answer %d", resp.StatusCode))
		return true
	}
	defer l.gone()
	for reader := sse.NewReader(resp.Body); ; {
		frame, err := reader.Next()
		if err != nil {
			return false
		}
		if done, ok := l.take(frame, last); done || !ok {
			return true
		}
	}
}

func (l *lookout) gone() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = time.Now()
}

func (l *lookout) back() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut.IsZero() {
		l.away = max(l.away, time.Since(l.cut))
	}
}

func (l *lookout) find(fault string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

func (l *lookout) take(frame sse.Frame, last *int64) (done, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, err := strconv.ParseInt(frame.ID, 10, 64)
	if err != nil {
		l.fault = "an id that is none: " + frame.ID
		return false, false
	}
	var e intent.Event
	if err := json.Unmarshal([]byte(frame.Data), &e); err != nil {
		l.fault = err.Error()
		return false, false
	}
	l.status = e.Status
	if frame.Event == "intent.reset" { // how the intent stands, which can be the end
		l.resets++
		*last = id
		return false, true
	}
	if id != *last+1 {
		l.fault = fmt.Sprintf("event %d follows event %d", id, *last)
		return false, false
	}
	*last = id
	l.events = append(l.events, e)
	l.at = append(l.at, time.Now())
	return e.Status.Terminal(), true
}

// saw waits for the end and returns the types of the events seen, in words.
func (l *lookout) saw() string {
	l.f.t.Helper()
	l.over.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(l.f.t, l.fault)
	var types []string
	for _, e := range l.events {
		types = append(types, strings.TrimPrefix(string(e.Type), "intent."))
	}
	return strings.Join(types, " ")
}

// await waits until a message was seen.
func (l *lookout) await(message string) {
	l.f.t.Helper()
	require.Eventually(l.f.t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range l.events {
			if e.Details.Message == message {
				return true
			}
		}
		return false
	}, 90*time.Second, 10*time.Millisecond, "nobody sees %q", message)
}

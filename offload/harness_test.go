package offload_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/keyring"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/offload"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// A tester is everything from the store to the server of status URLs, in front of a
// scripted backend, in virtual time.
type tester struct {
	t          *testing.T
	backend    *gate
	store      store.Store
	engine     *engine.Engine
	hub        *observe.Hub
	admissions *offload.Admissions
	job        *engine.Job
	rule       offload.Job // but for its job
	keys       offload.Keys
	limits     observe.Limits
	server     *offload.Server
	log        bytes.Buffer // of the server
	others     []*tester    // processes beside it
	way        *way         // from the engine to the store
	indexed    time.Time    // jobs are found in the store from then on
}

// gate is the scripted backend with somebody at the door.
type gate struct {
	*legacytest.Backend
	mu    sync.Mutex
	door  http.HandlerFunc                             // answers instead of the backend if it writes; nil for none
	after func(w http.ResponseWriter, r *http.Request) // adds to the head; nil for nothing
}

func (g *gate) Send(w http.ResponseWriter, r *http.Request) error {
	g.mu.Lock()
	door, after := g.door, g.after
	g.mu.Unlock()
	if after != nil {
		after(w, r)
	}
	if door != nil {
		seen := &wrote{ResponseWriter: w}
		if door(seen, r); seen.done {
			// Noted by the backend's ledger all the same.
			return g.Backend.Send(httptest.NewRecorder(), r)
		}
	}
	return g.Backend.Send(w, r)
}

type wrote struct {
	http.ResponseWriter
	done bool
}

func (w *wrote) WriteHeader(code int) { w.done = true; w.ResponseWriter.WriteHeader(code) }
func (w *wrote) Write(p []byte) (int, error) {
	w.done = true
	return w.ResponseWriter.Write(p)
}

func (g *gate) atTheDoor(f http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.door = f
}

func (g *gate) adds(f func(http.ResponseWriter, *http.Request)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.after = f
}

func inBubble(t *testing.T, test func(tt *tester), configure ...func(*tester)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tt := &tester{t: t, backend: &gate{Backend: legacytest.New()}, store: memstore.New(), keys: keysOf(t, 'a')}
		tt.job = &engine.Job{
			JobName:  engine.JobName{Scope: "default", Name: "report"},
			Backend:  &engine.Backend{Name: "default", Transport: tt.backend, InFlight: engine.DefaultInFlight, Rate: engine.DefaultRate},
			Pace:     engine.DefaultPace,
			Deadline: 24 * time.Hour,
			Respond:  engine.RespondMerge,
			MaxBody:  1 << 20,
		}
		for _, c := range configure {
			c(tt)
		}
		var err error
		tt.job.Adapter, err = adapter.Compile(adapter.Spec{
			Submit: adapter.Route{Method: "POST", Path: "/reports/generate"},
			Status: &adapter.Endpoint{Target: "/reports/status/{job_id}"},
		}, adapter.Options{})
		require.NoError(t, err)
		tt.starts()
		defer func() {
			for _, one := range append(tt.others, tt) {
				one.hub.Close()
				one.engine.Stop()
			}
		}()
		test(tt)
	})
}

// starts is a process on the tester's store.
func (tt *tester) starts() {
	tt.admissions = offload.NewAdmissions()
	tt.way = &way{Store: tt.store.(*memstore.Store)}
	tt.engine = engine.New(tt.way)
	if tt.store.Term() > 0 {
		tt.engine.Confer(tt.way)
	}
	tt.hub = observe.NewHub(tt.store, slog.New(slog.DiscardHandler))
	tt.engine.OnAnswer(tt.hub.Ring)
	tt.engine.Use(&engine.Generation{
		Jobs: map[engine.JobName]*engine.Job{tt.job.JobName: tt.job}, Retention: time.Hour, Logger: slog.New(slog.DiscardHandler),
		Sealer: plainSealer{},
	})
	rule := tt.rule
	rule.Job = tt.job
	tt.server = offload.New(offload.Config{
		Scope: "default", Jobs: []offload.Job{rule}, Engine: tt.engine, Store: lateIndex{tt.store, tt.indexed}, Admissions: tt.admissions, Keys: tt.keys,
		Observer: observe.New(observe.Config{Scope: "default", Store: tt.store, Hub: tt.hub, Limits: tt.limits}), Logger: slog.New(slog.NewTextHandler(&tt.log, nil)),
	})
	tt.engine.Start()
}

// A lateIndex finds jobs only from some time on: another process has claimed them, and is
// still storing their intents.
type lateIndex struct {
	store.Reader
	from time.Time
}

func (l lateIndex) ByJob(ctx context.Context, key store.JobKey) (intent.ID, error) {
	if time.Now().Before(l.from) {
		return intent.ID{}, store.ErrNotFound
	}
	return l.Reader.ByJob(ctx, key)
}

// beside is another process on the same store, before the same backend.
func (tt *tester) beside(configure ...func(*tester)) *tester {
	other := *tt
	other.log = bytes.Buffer{}
	for _, c := range configure {
		c(&other)
	}
	other.starts()
	tt.others = append(tt.others, &other)
	return &other
}

// shared has the store be one that several processes share.
func shared(tt *tester) { tt.store = memstore.NewLeased(15 * time.Second) }

// A way from one process to the store can be cut.
type way struct {
	*memstore.Store
	cut atomic.Bool
}

func (w *way) Release(ctx context.Context, l store.Lease) error {
	if w.cut.Load() {
		return store.ErrUnavailable
	}
	return w.Store.Release(ctx, l)
}

// dies is a process that goes without a word: others learn of it when its leases end.
func (tt *tester) dies() {
	tt.way.cut.Store(true)
	tt.hub.Close()
	tt.engine.Stop()
}

// at is the same client, whom a balancer has sent to another process.
func (c *client) at(tt *tester) *client {
	same := *c
	same.tt = tt
	return &same
}

// restarts has another process take the place of the one that is there.
func (tt *tester) restarts() {
	tt.hub.Close()
	tt.engine.Stop()
	tt.store = tt.store.(*memstore.Store).Reopen()
	tt.starts()
	synctest.Wait()
}

// keysOf is the keyring of some secrets, the current one first.
func keysOf(t *testing.T, secrets ...byte) *keyring.Keyring {
	t.Helper()
	var all [2][]byte
	for i, s := range secrets {
		all[i] = bytes.Repeat([]byte{s}, keyring.MinSecret)
	}
	keys, err := keyring.New(all[0], all[1])
	require.NoError(t, err)
	return keys
}

// plainSealer encrypts nothing: what is sealed is not what is tested here.
type plainSealer struct{}

func (plainSealer) Seal(_ [16]byte, _ string, value []byte) []byte { return bytes.Clone(value) }
func (plainSealer) Open(_ [16]byte, _ string, sealed []byte) ([]byte, error) {
	return sealed, nil
}

func (tt *tester) passes(d time.Duration) {
	<-time.After(d) // virtual
	synctest.Wait()
}

// backendAsked counts the status requests that the backend got, from anybody.
func (tt *tester) backendAsked(jobID string) int {
	return len(tt.backend.AskedFor("GET", "/reports/status/"+jobID)) + len(tt.backend.AskedFor("HEAD", "/reports/status/"+jobID))
}

// A client sends the same credentials with each request.
type client struct {
	tt     *tester
	header http.Header
	cert   string
	addr   string
	proxy  string // before us, by which it comes; "" for none
	host   string
	who    offload.Asker

	unknown bool // its intents are those of a release that kept no makers
}

func (tt *tester) client(header ...string) *client {
	c := &client{tt: tt, header: http.Header{}, addr: "203.0.113.7:1234", host: "api.example.com"}
	for i := 0; i < len(header); i += 2 {
		c.header.Set(header[i], header[i+1])
	}
	return c
}

func (c *client) request(method, path string, header ...string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Header = c.header.Clone()
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.RemoteAddr, r.Host = cmp.Or(c.proxy, c.addr), c.host
	if c.cert != "" {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{Raw: []byte(c.cert)}}}
	}
	return r
}

func (c *client) asker() offload.Asker {
	who := c.who
	who.Scheme = "https"
	who.Client, _, _ = strings.Cut(c.addr, ":")
	return who
}

func (c *client) do(method, path string, header ...string) *httptest.ResponseRecorder {
	c.tt.t.Helper()
	w := httptest.NewRecorder()
	require.NoError(c.tt.t, c.tt.server.Serve(w, c.request(method, path, header...), c.asker(), c.tt.backend.Send))
	return w
}

func (c *client) get(jobID string, header ...string) *httptest.ResponseRecorder {
	c.tt.t.Helper()
	return c.do("GET", "/reports/status/"+jobID, header...)
}

// submit starts a job and returns its intent and the backend's name for it.
func (c *client) submit() (intent.ID, string) {
	c.tt.t.Helper()
	r := c.request("POST", "/reports/generate", "Content-Type", "application/json")
	w := httptest.NewRecorder()
	owner := ""
	if len(c.who.Owners) > 0 {
		owner = c.who.Owners[0]
	}
	submission := engine.Submission{Job: c.tt.job, Scheme: "https", Client: c.asker().Client, Base: "/v1/intents", Owner: owner}
	if !c.unknown {
		submission.Maker = func(id intent.ID) string { return c.tt.server.Maker(id, r, c.asker()) }
	}
	err := c.tt.engine.Submit(w, r, submission)
	require.NoError(c.tt.t, err)
	synctest.Wait()
	id, err := intent.ParseID(w.Header().Get("Intent-Id"))
	require.NoError(c.tt.t, err, "%d %s", w.Code, w.Body)
	in, err := c.tt.store.Get(c.tt.t.Context(), id)
	require.NoError(c.tt.t, err)
	return id, in.JobID
}

// runs starts a job, which runs from then on, and returns the backend's name for it.
func (c *client) runs(percent int) string {
	c.tt.t.Helper()
	_, job := c.submit()
	c.tt.backend.Says(job, "running", percent)
	return job
}

// polls is runs for a client that the backend has let ask already.
func (c *client) polls(percent int) string {
	c.tt.t.Helper()
	job := c.runs(percent)
	require.Equal(c.tt.t, http.StatusOK, c.get(job).Code)
	return job
}

// costs has something done, and wants so many status requests at the backend for it.
func (tt *tester) costs(job string, requests int, do func(), why ...any) {
	tt.t.Helper()
	before := tt.backendAsked(job)
	do()
	require.Equal(tt.t, before+requests, tt.backendAsked(job), why...)
}

package caddymodule_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-intents/caddy-intents/caddymodule"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/store"
)

func TestMain(m *testing.M) { caddytest.Main(m, caddycmd.Main) }

// patience is for what never comes: a busy machine takes many seconds for what usually
// takes none, and nothing that comes is asserted to be fast.
const patience = 2 * time.Minute

// A site is a real Caddy in this process, in front of a scripted backend on a real
// socket. There is one Caddy in a process, so these tests run one after another.
type site struct {
	t       *testing.T
	backend *legacytest.Backend
	to      string // the backend's address
	addr    string // Caddy's address
	store   string // path of the store
	options string // more global options
	hosts   string // which Caddy serves; empty for its address
	block   string // that restarts serves again
}

func newSite(t *testing.T) *site {
	s := &site{t: t, backend: legacytest.New(), addr: caddytest.FreeAddr(t), store: filepath.Join(t.TempDir(), "intents.db")}
	server := httptest.NewServer(s.backend)
	t.Cleanup(server.Close)
	s.to = server.Listener.Addr().String()
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	return s
}

// storage is Caddy's own storage. The default one was set before the tests could say
// where it is.
func (s *site) storage() string { return filepath.Dir(s.store) }

// config is a Caddyfile with the given site block. In it ADDR, TO and STORE stand
// for the addresses and the store's path.
func (s *site) config(block string) []byte {
	s.t.Helper()
	text := "{\n\tadmin off\n\tpersist_config off\n\tstorage file_system " + s.storage() + "\n\tintents {\n\t\tstore counted STORE\n\t}\n" + s.options + "\n}\nhttp://" + cmp.Or(s.hosts, "ADDR") + " {\n" + block + "\n}\n"
	text = strings.NewReplacer("ADDR", s.addr, "TO", s.to, "STORE", s.store).Replace(text)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	require.NoError(s.t, err)
	return adapted
}

// toEveryHost lets Caddy answer whatever host a request is for.
func (s *site) toEveryHost() {
	_, port, _ := strings.Cut(s.addr, ":")
	s.hosts = ":" + port
}

// serve starts Caddy with a site block, or reloads it.
func (s *site) serve(block string) {
	s.t.Helper()
	require.NoError(s.t, caddy.Load(s.config(block), true))
}

// restarts ends Caddy, with all that it has in memory, and starts it again.
func (s *site) restarts() {
	s.t.Helper()
	require.NoError(s.t, caddy.Stop())
	s.serve(s.block)
}

// report is the usual job, polled every 100 ms.
const report = `intents TO {
	job report {
		submit POST /reports/generate
		status GET /reports/status/{job_id}
		poll 100ms {
			first 50ms
		}
	}
}`

func (s *site) do(method, path, body string, headers ...string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	posts := s.posts()
	resp, err := http.DefaultTransport.RoundTrip(r)
	// Right after a reload the old server may take a connection and close it, before it has
	// read anything; on a busy machine more than one.
	for tries := 0; tries < 50 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && s.posts() == posts; tries++ {
		r.Body = io.NopCloser(strings.NewReader(body))
		resp, err = http.DefaultTransport.RoundTrip(r)
	}
	require.NoError(s.t, err)
	return resp
}

// posts counts what is not to be sent twice.
func (s *site) posts() int { return len(s.backend.AskedFor("POST", "/reports/generate")) }

// text reads an answer to its end.
func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// submit starts a job and returns its intent's id and the backend's.
func (s *site) submit() (id, jobID string) {
	s.t.Helper()
	resp := s.do("POST", "/reports/generate", `{"kind":"annual"}`)
	body := text(s.t, resp)
	var answer struct {
		JobID    string `json:"job_id"`
		IntentID string `json:"intent_id"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(body), &answer), body)
	require.NotEmpty(s.t, answer.IntentID, "%d %s", resp.StatusCode, body)
	return answer.IntentID, answer.JobID
}

// An observer reads one stream, and checks that seq counts without a gap.
type observer struct {
	t      *testing.T
	reader *sse.Reader
	close  func() error
	seq    int64
}

func (s *site) observe(id string, headers ...string) *observer {
	s.t.Helper()
	return s.observeAt("/v1/intents/", id, headers...)
}

// observeAt is observe under another path.
func (s *site) observeAt(path, id string, headers ...string) *observer {
	s.t.Helper()
	resp := s.do("GET", path+id+"/events/stream", "", headers...)
	require.Equal(s.t, http.StatusOK, resp.StatusCode)
	require.Equal(s.t, "text/event-stream", resp.Header.Get("Content-Type"))
	s.t.Cleanup(func() { resp.Body.Close() })
	return &observer{t: s.t, reader: sse.NewReader(resp.Body), close: resp.Body.Close}
}

// next returns the next event.
func (o *observer) next() intent.Event {
	o.t.Helper()
	e, err := o.tryNext()
	require.NoError(o.t, err)
	return e
}

func (o *observer) tryNext() (intent.Event, error) {
	frame, err := o.reader.Next()
	if err != nil {
		return intent.Event{}, err
	}
	var e intent.Event
	if err := json.Unmarshal([]byte(frame.Data), &e); err != nil {
		return e, err
	}
	if e.Seq != o.seq+1 {
		return e, fmt.Errorf("event %d follows event %d", e.Seq, o.seq)
	}
	o.seq = e.Seq
	return e, nil
}

// until reads events up to one of this status.
func (o *observer) until(status intent.Status) []intent.Event {
	o.t.Helper()
	var events []intent.Event
	for {
		e := o.next()
		events = append(events, e)
		if e.Status == status {
			return events
		}
		require.False(o.t, e.Status.Terminal(), "ended as %s", e.Status)
	}
}

// untilWaiting reads events up to one that says what the intent waits for.
func (o *observer) untilWaiting(what string) {
	o.t.Helper()
	for o.next().Details.Waiting != what {
	}
}

// ends asserts that the server ended the stream cleanly.
func (o *observer) ends() {
	o.t.Helper()
	_, err := o.reader.Next()
	require.ErrorIs(o.t, err, io.EOF)
}

// panics is a handler with a fault.
type panics struct{}

func init() {
	caddy.RegisterModule(panics{})
	httpcaddyfile.RegisterHandlerDirective("panics", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return panics{}, nil
	})
}

func (panics) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.panics", New: func() caddy.Module { return new(panics) }}
}

func (panics) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
	panic("a fault in a handler")
}

// countedStore is the bolt store, counting how often one is opened and closed.
type countedStore struct{ caddymodule.BoltStore }

var opened, closed atomic.Int32

func init() { caddy.RegisterModule(countedStore{}) }

func (countedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "intents.stores.counted", New: func() caddy.Module { return new(countedStore) }}
}

func (s *countedStore) Open(log *slog.Logger) (store.Store, error) {
	st, err := s.BoltStore.Open(log)
	if err == nil {
		opened.Add(1)
		st = countedClose{st}
	}
	return st, err
}

type countedClose struct{ store.Store }

func (s countedClose) Close() error {
	closed.Add(1)
	return s.Store.Close()
}

// nextTogether returns the next event of a stream of several intents, and its id.
func nextTogether(t *testing.T, resp *http.Response) (intent.Event, string) {
	t.Helper()
	reader, ok := readers[resp]
	if !ok {
		reader = sse.NewReader(resp.Body)
		readers[resp] = reader
	}
	frame, err := reader.Next()
	require.NoError(t, err)
	var e intent.Event
	require.NoError(t, json.Unmarshal([]byte(frame.Data), &e))
	return e, reader.LastEventID()
}

// readers belong to the answers that nextTogether reads: one may hold several frames.
var readers = make(map[*http.Response]*sse.Reader)

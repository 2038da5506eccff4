package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// A tester is a server over a store, inside a bubble of testing/synctest.
type tester struct {
	t      testing.TB
	store  *faultyStore
	hub    *Hub
	server *Server
	viewer Viewer // who requests are from

	mu    sync.Mutex
	ended []End
}

// run runs f in a bubble and then closes everything, which shows that nothing
// is left running. It does so twice: what observers see is the same whether a store tells
// what is new or has it read.
func run(t *testing.T, f func(*testing.T, *tester)) {
	t.Helper()
	t.Run("with news", func(t *testing.T) { runWith(t, false, f) })
	t.Run("by bells alone", func(t *testing.T) { runWith(t, true, f) })
}

// runByBells is run where the store has everything read.
func runByBells(t *testing.T, f func(*testing.T, *tester)) {
	t.Helper()
	runWith(t, true, f)
}

func runWith(t *testing.T, terse bool, f func(*testing.T, *tester)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tt := newTester(t, Config{})
		tt.store.terse = terse
		defer func() {
			tt.hub.Close()
			require.Zero(t, tt.hub.Observers())
			require.Empty(t, tt.hub.rooms)
		}()
		f(t, tt)
	})
}

func newTester(t testing.TB, c Config) *tester {
	tt := &tester{t: t, store: &faultyStore{Store: memstore.New()}}
	tt.hub = NewHub(tt.store, slog.New(slog.DiscardHandler))
	tt.configure(c)
	return tt
}

// take gives the server away.
func (tt *tester) take() *Server {
	s := tt.server
	tt.server = nil
	return s
}

// configure replaces the server, as a reload does.
func (tt *tester) configure(c Config) {
	c.Scope, c.Store, c.Hub = "default", tt.store, tt.hub
	c.Ended = func(end End) {
		tt.mu.Lock()
		defer tt.mu.Unlock()
		tt.ended = append(tt.ended, end)
	}
	tt.server = New(c)
}

func (tt *tester) wantEnds(want ...End) {
	tt.t.Helper()
	tt.mu.Lock()
	defer tt.mu.Unlock()
	require.Equal(tt.t, want, tt.ended)
}

// faultyStore is a store whose signals can get lost and which can fail.
type faultyStore struct {
	store.Store
	terse   bool                              // its signals bring no news
	distort func(store.Signal) []store.Signal // what is heard of a signal; nil: itself
	mu      sync.Mutex
	deaf    bool
	err     error
	watched []time.Time
}

func (f *faultyStore) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// told is until when the store was told that intents are watched, in order.
func (f *faultyStore) told() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.watched)
}

func (f *faultyStore) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *faultyStore) Get(ctx context.Context, id intent.ID) (intent.Intent, error) {
	if err := f.failure(); err != nil {
		return intent.Intent{}, err
	}
	return f.Store.Get(ctx, id)
}

func (f *faultyStore) Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error) {
	if err := f.failure(); err != nil {
		return intent.Intent{}, nil, err
	}
	return f.Store.Events(ctx, id, after)
}

func (f *faultyStore) Watch(_ context.Context, _ intent.ID, until time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched = append(f.watched, until)
	return f.err
}

func (f *faultyStore) Listen(hear func(store.Signal)) func() {
	return f.Store.Listen(func(s store.Signal) {
		f.mu.Lock()
		deaf := f.deaf
		f.mu.Unlock()
		if f.terse {
			s.News = nil
		}
		switch {
		case deaf:
		case f.distort != nil:
			for _, s := range f.distort(s) {
				hear(s)
			}
		default:
			hear(s)
		}
	})
}

// A job is an intent whose backend the test plays.
type job struct {
	tt   *tester
	held store.Held
	in   intent.Intent
}

// begins stores a delivered intent: its first three events.
func (tt *tester) begins(change ...func(*intent.Intent)) *job {
	tt.t.Helper()
	now := time.Now()
	in := intent.Intent{ID: intent.NewID(now, 0), Origin: intent.Origin{
		Scope: "default", Job: "report", Created: now, Deadline: now.Add(24 * time.Hour),
	}}
	for _, f := range change {
		f(&in)
	}
	in, events := in.Begin(now)
	in, delivered := in.Deliver(intent.Delivery{JobID: "job-1", StatusURL: "/status/" + in.ID.String()}, now)
	held, err := tt.store.Create(tt.t.Context(), in, append(events, delivered...))
	require.NoError(tt.t, err)
	return &job{tt: tt, held: held, in: in}
}

// says is one reading of the backend's status.
func (j *job) says(message string) {
	j.reads(intent.Reading{Status: intent.InProgress, Message: message})
}

func (j *job) completes(result string) {
	j.reads(intent.Reading{Status: intent.Completed, Result: json.RawMessage(result)})
}

// reads applies a reading and stores the events it made, at least one.
func (j *job) reads(r intent.Reading) {
	j.tt.t.Helper()
	next, events := j.in.Apply(r, time.Now())
	require.NotEmpty(j.tt.t, events, "a reading with something new, a second after the last")
	j.stores(next, events)
}

func (j *job) stores(next intent.Intent, events []intent.Event) {
	j.tt.t.Helper()
	next.Expires = time.Now().Add(24 * time.Hour)
	err := j.tt.store.Append(j.tt.t.Context(), store.Change{Intent: next, Epoch: j.held.Epoch, After: j.in.Seq, Events: events})
	require.NoError(j.tt.t, err)
	j.in = next
}

// runsThrough makes the whole life of a job: seven events, the last of them
// terminal.
func (tt *tester) runsThrough() *job {
	j := tt.begins()
	for i := range 3 {
		tt.passes(2 * time.Second)
		j.says(fmt.Sprintf("step %d", i))
	}
	j.completes(`{"url":"/report.pdf"}`)
	return j
}

func (tt *tester) passes(d time.Duration) {
	<-time.After(d) // in the bubble: no real time passes
	synctest.Wait()
}

// get makes a request that is answered at once.
func (tt *tester) get(target string, header ...string) *httptest.ResponseRecorder {
	return tt.asks(http.MethodGet, target, header...)
}

func (tt *tester) asks(method, target string, header ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	tt.server.ServeHTTP(w, tt.from(request(method, target, header)))
	return w
}

// from is the request as it comes from who the tester is.
func (tt *tester) from(r *http.Request) *http.Request {
	return r.WithContext(WithViewer(r.Context(), tt.viewer))
}

func request(method, target string, header []string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (j *job) path() string   { return "/v1/intents/" + j.in.ID.String() }
func (j *job) stream() string { return j.path() + "/events/stream" }

// An observer is a client on a stream.
type observer struct {
	t     testing.TB
	conn  *conn
	leave context.CancelFunc
	done  chan struct{}
	abort bool // the response was aborted, not ended
	last  sse.Frame
}

// observes opens a stream. Header fields are given as name, value, name, value.
func (tt *tester) observes(target string, header ...string) *observer {
	ctx, leave := context.WithCancel(context.Background())
	o := &observer{t: tt.t, conn: newConn(), leave: leave, done: make(chan struct{})}
	r := tt.from(request(http.MethodGet, target, header).WithContext(ctx))
	server := tt.server
	go o.serve(server, o.conn, r)
	synctest.Wait()
	return o
}

// serve does what net/http does around a handler. It ends with the stream.
func (o *observer) serve(server *Server, w http.ResponseWriter, r *http.Request) {
	defer close(o.done)
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			o.abort = true
		default:
			panic(v)
		}
	}()
	server.ServeHTTP(w, r)
}

var (
	retryLine = regexp.MustCompile(`^retry: (\d+)\n`)
	frame     = regexp.MustCompile(`^(?s).+?\n\n`)
)

// next takes one thing off what was received: a heartbeat, a retry line or a
// frame. "" if there is nothing.
func (o *observer) next() string {
	o.t.Helper()
	synctest.Wait()
	return o.conn.take(func(b []byte) int {
		switch {
		case len(b) == 0:
			return 0
		case bytes.HasPrefix(b, []byte(sse.Heartbeat)):
			return len(sse.Heartbeat)
		case retryLine.Match(b):
			return len(retryLine.Find(b))
		}
		whole := frame.Find(b)
		require.NotEmpty(o.t, whole, "half a frame: %q", b)
		return len(whole)
	})
}

func (o *observer) wantNothing() {
	o.t.Helper()
	require.Empty(o.t, o.next())
	o.wantOpen()
}

func (o *observer) wantOpen() {
	o.t.Helper()
	synctest.Wait()
	select {
	case <-o.done:
		require.Fail(o.t, "the stream has ended")
	default:
	}
}

func (o *observer) wantHeartbeat() {
	o.t.Helper()
	require.Equal(o.t, ":\n", o.next())
}

func (o *observer) wantRetry(low, high time.Duration) {
	o.t.Helper()
	token := o.next()
	m := retryLine.FindStringSubmatch(token)
	require.NotNil(o.t, m, "a retry line, not %q", token)
	ms, err := strconv.Atoi(m[1])
	require.NoError(o.t, err)
	d := time.Duration(ms) * time.Millisecond
	require.True(o.t, low <= d && d <= high, "retry: %s", d)
}

// opens takes what every stream starts with.
func (o *observer) opens() *observer {
	o.t.Helper()
	synctest.Wait()
	require.Equal(o.t, http.StatusOK, o.conn.status, "%s", o.conn.received.Bytes())
	o.wantRetry(1500*time.Millisecond, 2500*time.Millisecond)
	return o
}

// follows is an observer of a job that has just begun, which has seen all there is; query
// is what its URL says more, with its question mark.
func (tt *tester) follows(j *job, query ...string) *observer {
	tt.t.Helper()
	o := tt.observes(j.stream() + strings.Join(query, "")).opens()
	o.wantSeqs(1, 3)
	return o
}

// wantSentAway wants a stream to be cut with a word of when to come back.
func (o *observer) wantSentAway() {
	o.t.Helper()
	o.wantRetry(500*time.Millisecond, 5*time.Second)
	o.wantCut()
}

func (o *observer) wantEvent(name string) wireEvent {
	o.t.Helper()
	token := o.next()
	require.NotEmpty(o.t, token, "waiting for %s", name)
	f, err := sse.NewReader(strings.NewReader(token)).Next()
	require.NoError(o.t, err, "%q", token)
	require.Equal(o.t, name, f.Event)
	require.LessOrEqual(o.t, len(token), MaxFrame)
	o.last = f
	var e wireEvent
	require.NoError(o.t, json.Unmarshal([]byte(f.Data), &e))
	return e
}

// wireEvent is what a client reads.
type wireEvent struct {
	IntentID string         `json:"intent_id"`
	Seq      int64          `json:"seq"`
	Type     string         `json:"event_type"`
	Status   string         `json:"status"`
	Details  map[string]any `json:"details"`
	OK       bool           `json:"ok"`
	NextSeq  int64          `json:"next_seq"`
}

// wantSeqs takes stored events and checks that they are these, in this order. They
// are named by their ids.
func (o *observer) wantSeqs(first, last int64) {
	o.t.Helper()
	for seq := first; seq <= last; seq++ {
		token := o.next()
		if retryLine.MatchString(token) {
			token = o.next() // ahead of the terminal event
		}
		f, err := sse.NewReader(strings.NewReader(token)).Next()
		require.NoError(o.t, err, "seq %d of %d to %d: %q", seq, first, last, token)
		require.Equal(o.t, strconv.FormatInt(seq, 10), f.ID)
		require.NotEqual(o.t, string(TypeReset), f.Event)
		o.last = f
	}
}

// wantEnd checks that the response is complete, and wantCut that it is not.
func (o *observer) wantEnd() {
	o.t.Helper()
	o.wantOver()
	require.False(o.t, o.abort, "the end was abnormal")
}

func (o *observer) wantCut() {
	o.t.Helper()
	o.wantOver()
	require.True(o.t, o.abort, "the end was clean")
}

func (o *observer) wantOver() {
	o.t.Helper()
	require.Empty(o.t, o.next())
	select {
	case <-o.done:
	default:
		require.Fail(o.t, "the stream goes on")
	}
}

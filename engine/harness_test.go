package engine_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// A tester is an engine on a memory store, in front of a scripted backend, in
// virtual time. Its verbs wait until everything has come to rest.
type tester struct {
	t       *testing.T
	backend *legacytest.Backend
	store   *moodyStore
	engine  *engine.Engine
	job     *engine.Job
	log     *logLines
	meter   *ledger
	retire  func()
	sealer  engine.Sealer
}

// inBubble runs a test in virtual time with an engine that is started. Configure
// changes the job before it is used.
func inBubble(t *testing.T, test func(t *testing.T, et *tester), configure ...func(*engine.Job, *adapter.Spec)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		et := newTester(t, configure...)
		et.engine.Start()
		defer func() { et.engine.Stop() }() // also after a failure, or the bubble reports its goroutines instead
		test(t, et)
	})
}

func newTester(t *testing.T, configure ...func(*engine.Job, *adapter.Spec)) *tester {
	et := &tester{t: t, backend: legacytest.New(), store: &moodyStore{Store: memstore.New()}, log: new(logLines), sealer: rot{}, meter: new(ledger)}
	et.engine = engine.New(et.store)
	et.engine.Measure(et.meter)
	et.reload(configure...)
	return et
}

// reload applies new settings and takes the old ones back, as a config reload does.
func (et *tester) reload(configure ...func(*engine.Job, *adapter.Spec)) {
	et.t.Helper()
	spec := adapter.Spec{
		Submit: adapter.Route{Method: "POST", Path: "/reports/generate"},
		Status: &adapter.Endpoint{Target: "/reports/status/{job_id}"},
		Cancel: &adapter.Endpoint{Target: "/reports/status/{job_id}"},
	}
	job := &engine.Job{
		JobName:  engine.JobName{Scope: "default", Name: "report"},
		Backend:  &engine.Backend{Name: "default", Transport: et.backend, InFlight: engine.DefaultInFlight, Rate: engine.DefaultRate},
		Pace:     engine.DefaultPace,
		Deadline: 24 * time.Hour,
		Respond:  engine.RespondMerge,
		MaxBody:  1 << 20,
	}
	for _, c := range configure {
		c(job, &spec)
	}
	var err error
	job.Adapter, err = adapter.Compile(spec, adapter.Options{})
	require.NoError(et.t, err)
	et.job = job
	et.use(job)
}

// besides has a second job of another name beside the tester's.
func (et *tester) besides(name string) (first, second *engine.Job) {
	first, second = et.job, new(*et.job)
	second.Name = name
	et.use(first, second)
	return first, second
}

func (et *tester) use(jobs ...*engine.Job) {
	g := &engine.Generation{
		Jobs:      make(map[engine.JobName]*engine.Job),
		Retention: engine.DefaultRetention,
		Sealer:    et.sealer,
		Logger:    slog.New(slog.NewTextHandler(et.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, j := range jobs {
		g.Jobs[j.JobName] = j
	}
	old := et.retire
	et.retire = et.engine.Use(g)
	if old != nil {
		old()
	}
	synctest.Wait()
}

// restart kills the engine and starts another one on what the store holds; the
// store may be in a bad mood from the beginning.
func (et *tester) restart(mood ...error) {
	et.restartOn(&moodyStore{failing: errors.Join(mood...)})
}

func (et *tester) restartOn(s *moodyStore) {
	s.Store = et.store.Store.(*memstore.Store).Reopen()
	et.engine.Stop()
	et.store = s
	et.engine = engine.New(et.store)
	et.engine.Measure(et.meter)
	et.retire = nil
	et.use(et.job)
	et.engine.Start()
	synctest.Wait()
}

// post submits a job as a client would.
func (et *tester) post(edit ...func(*http.Request)) *httptest.ResponseRecorder {
	et.t.Helper()
	w, err := et.tryPost(edit...)
	require.NoError(et.t, err)
	return w
}

func (et *tester) tryPost(edit ...func(*http.Request)) (*httptest.ResponseRecorder, error) {
	r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{"kind":"annual"}`))
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	err := et.engine.Submit(w, r, engine.Submission{
		Job:    et.job,
		Scheme: "https",
		Client: "203.0.113.7",
		Base:   "/v1/intents",
		Present: func(w http.ResponseWriter, in *intent.Intent) {
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte(`{"presented":"` + in.ID.String() + `"}`))
		},
	})
	synctest.Wait()
	return w, err
}

// submit starts a job and returns its intent and the backend's name for it.
func (et *tester) submit() (intent.ID, string) {
	et.t.Helper()
	w := et.post()
	id, err := intent.ParseID(w.Header().Get("Intent-Id"))
	require.NoError(et.t, err, "answer %d %s", w.Code, w.Body)
	return id, et.get(id).JobID
}

func (et *tester) advance(d time.Duration) {
	<-time.After(d) // virtual
	synctest.Wait()
}

// watch is an observer with a stream open for so long.
func (et *tester) watch(id intent.ID, d time.Duration) {
	et.t.Helper()
	require.NoError(et.t, et.store.Watch(et.t.Context(), id, time.Now().Add(d)))
	synctest.Wait()
}

func (et *tester) get(id intent.ID) intent.Intent {
	et.t.Helper()
	in, err := et.store.Store.Get(et.t.Context(), id)
	require.NoError(et.t, err)
	return in
}

func (et *tester) events(id intent.ID) []intent.Event {
	et.t.Helper()
	_, events, err := et.store.Store.Events(et.t.Context(), id, 0)
	require.NoError(et.t, err)
	return events
}

// wantEvents compares the statuses of all events, in words: "created submitted".
func (et *tester) wantEvents(id intent.ID, want string) {
	et.t.Helper()
	var got []string
	for i, e := range et.events(id) {
		require.EqualValues(et.t, i+1, e.Seq, "seq without a gap")
		got = append(got, strings.TrimPrefix(string(e.Type), "intent."))
	}
	require.Equal(et.t, want, strings.Join(got, " "))
}

// wantLost wants an intent to have failed because the backend does not know the job, for
// a reason with this text in it.
func (et *tester) wantLost(id intent.ID, why string) {
	et.t.Helper()
	in := et.get(id)
	require.Equal(et.t, intent.Failed, in.Status)
	require.Equal(et.t, intent.CodeJobLost, in.Error.Code)
	require.Contains(et.t, in.Error.Message, why)
}

// pollsAt are the moments of the polls of a job, since the bubble's start.
func (et *tester) pollsAt(jobID string) []time.Duration {
	var at []time.Duration
	for _, a := range et.backend.AskedFor("GET", "/reports/status/"+jobID) {
		at = append(at, a.At.Sub(bubbleStart))
	}
	return at
}

// bubbleStart is when every synctest bubble begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// A moodyStore is a store that can be away, as a whole or for its writes.
type moodyStore struct {
	store.Store
	mu      sync.Mutex
	failing error
	appends func() error  // asked before each Append; nil for nobody
	losing  error         // writes are made, and answered with this
	mute    error         // the answer of Take; nil for what is so
	slow    time.Duration // each read takes so long
	claimed chan struct{} // what was claimed arrives when this is closed; nil for at once
}

func (s *moodyStore) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	held, err := s.Store.Claim(ctx, n, of...)
	s.mu.Lock()
	claimed := s.claimed
	s.mu.Unlock()
	if claimed != nil {
		<-claimed
	}
	return held, err
}

func (s *moodyStore) Drop(ctx context.Context, id intent.ID, epoch int64) error {
	if err := s.mood(); err != nil {
		return err
	}
	return s.Store.Drop(ctx, id, epoch)
}

// loses lets writes be made whose outcome the caller does not learn.
func (s *moodyStore) loses(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losing = err
}

// losesAll is loses, and who asks what became of it is not answered either.
func (s *moodyStore) losesAll(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losing, s.mute = err, err
}

// dies keeps the engine of before from this store for good, as a kill does.
func (s *moodyStore) dies() { s.fails(store.ErrUnavailable); s.mutes(store.ErrUnavailable) }

func (s *moodyStore) mutes(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = err
}

func (s *moodyStore) Take(ctx context.Context, id intent.ID) (store.Held, error) {
	s.mu.Lock()
	mute := s.mute
	s.mu.Unlock()
	if mute != nil {
		return store.Held{}, mute
	}
	return s.Store.Take(ctx, id)
}

// onAppend has f decide what becomes of each Append.
func (s *moodyStore) onAppend(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appends = f
}

// takes lets every Get take so long.
func (s *moodyStore) takes(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = d
}

func (s *moodyStore) Get(ctx context.Context, id intent.ID) (intent.Intent, error) {
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	<-time.After(slow) // virtual
	return s.Store.Get(ctx, id)
}

func (s *moodyStore) lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losing
}

func (s *moodyStore) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
}

func (s *moodyStore) mood() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}

func (s *moodyStore) Reserve(ctx context.Context, in intent.Intent) (store.Held, error) {
	if err := s.mood(); err != nil {
		return store.Held{}, err
	}
	held, err := s.Store.Reserve(ctx, in)
	return held, cmp.Or(err, s.lost())
}

func (s *moodyStore) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	if err := s.mood(); err != nil {
		return store.Held{}, err
	}
	held, err := s.Store.Create(ctx, in, events)
	return held, cmp.Or(err, s.lost())
}

func (s *moodyStore) Append(ctx context.Context, c store.Change) error {
	if err := s.mood(); err != nil {
		return err
	}
	s.mu.Lock()
	ask := s.appends
	s.mu.Unlock()
	if ask != nil {
		if err := ask(); err != nil {
			return err
		}
	}
	return cmp.Or(s.Store.Append(ctx, c), s.lost())
}

var errDisk = errors.New("no space left on device")

// logLines keeps what was logged, for tests about being told.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// with returns the lines that contain a text.
func (l *logLines) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

var filterAll store.Filter

func (et *tester) engineLogger() *slog.Logger { return slog.New(slog.NewTextHandler(et.log, nil)) }

// polls are all status requests so far.
func (et *tester) polls() []legacytest.Asked {
	var found []legacytest.Asked
	for _, a := range et.backend.Asked() {
		if a.Method == "GET" {
			found = append(found, a)
		}
	}
	return found
}

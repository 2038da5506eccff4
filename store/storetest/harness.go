package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// noon is when all intents of the suite are made: a store has no clock.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// A tester has a store and the verbs that the suite is written in.
type tester struct {
	*testing.T
	store.Store
	made int // intents so far; each is a second younger than the one before
}

func newTester(t *testing.T, open func(*testing.T) store.Store) *tester {
	t.Helper()
	s := open(t)
	t.Cleanup(func() { _ = s.Close() })
	return &tester{T: t, Store: s}
}

// request makes an intent that is stored nowhere yet.
func (t *tester) request() intent.Intent {
	t.made++
	created := noon.Add(time.Duration(t.made) * time.Second)
	return intent.Intent{
		ID: intent.NewID(created, uint8(t.made)),
		Origin: intent.Origin{
			Scope: "default", Job: "report", Created: created, Deadline: created.Add(24 * time.Hour),
			Host: "api.example.com", Scheme: "https", Client: "192.0.2.7", Prefix: "/api",
			Request: []byte(`{"rows":3}`), Captured: true,
		},
		Polling: intent.Polling{Due: created.Add(time.Second)},
	}
}

// delivered makes the first three events, of a job with the given status URL.
func delivered(in intent.Intent, url string) (intent.Intent, []intent.Event) {
	in, begun := in.Begin(in.Created)
	in, named := in.Deliver(intent.Delivery{
		JobID: "j-1", Params: map[string]string{"region": "eu"}, StatusURL: url,
	}, in.Created.Add(time.Second))
	return in, append(begun, named...)
}

// reading makes the events of a status answer.
func reading(in intent.Intent, percent float64) (intent.Intent, []intent.Event) {
	in.Memory = fmt.Sprintf("etag-%v", percent)
	return in.Apply(intent.Reading{
		Status: intent.InProgress, Progress: &percent, Message: fmt.Sprintf("row %v", percent),
	}, in.Updated.Add(time.Minute))
}

// ended makes the events of the last status answer; the intent is kept for an hour.
func ended(in intent.Intent) (intent.Intent, []intent.Event) {
	in, events := in.Apply(intent.Reading{
		Status: intent.Completed, Result: json.RawMessage(`{"url":"/r/1"}`),
	}, in.Updated.Add(time.Minute))
	in.Expires = in.Updated.Add(time.Hour)
	return in, events
}

func change(before store.Held, in intent.Intent, events []intent.Event) store.Change {
	return store.Change{Intent: in, Epoch: before.Epoch, After: before.Intent.Seq, Events: events}
}

// create stores an intent of a job of its own and returns it as held.
func (t *tester) create() store.Held {
	t.Helper()
	return t.createJob(fmt.Sprintf("/status/%d", t.made))
}

func (t *tester) createJob(url string) store.Held {
	t.Helper()
	in, events := delivered(t.request(), url)
	held, err := t.Create(t.Context(), in, events)
	require.NoError(t, err)
	return held
}

func (t *tester) reserve() store.Held {
	t.Helper()
	held, err := t.Reserve(t.Context(), t.request())
	require.NoError(t, err)
	return held
}

// report appends one reading and returns what is then held.
func (t *tester) report(held store.Held, percent float64) store.Held {
	t.Helper()
	in, events := reading(held.Intent, percent)
	require.NotEmpty(t, events)
	require.NoError(t, t.Append(t.Context(), change(held, in, events)))
	held.Intent = in
	return held
}

func (t *tester) end(held store.Held) intent.Intent {
	t.Helper()
	in, events := ended(held.Intent)
	require.NotEmpty(t, events)
	require.NoError(t, t.Append(t.Context(), change(held, in, events)))
	return in
}

func (t *tester) take(id intent.ID) store.Held {
	t.Helper()
	held, err := t.Take(t.Context(), id)
	require.NoError(t, err)
	return held
}

func (t *tester) release(held store.Held) {
	t.Helper()
	require.NoError(t, t.Release(t.Context(), held.Lease))
}

func (t *tester) claim(n int) []store.Held {
	t.Helper()
	held, err := t.Claim(t.Context(), n)
	require.NoError(t, err)
	return held
}

// get returns the intent and all its events.
func (t *tester) get(id intent.ID) (intent.Intent, []intent.Event) {
	t.Helper()
	in, events, err := t.Events(t.Context(), id, 0)
	require.NoError(t, err)
	return in, events
}

// stands checks that the store has exactly this intent and these events of it.
func (t *tester) stands(want intent.Intent, events []intent.Event) {
	t.Helper()
	got, gotEvents := t.get(want.ID)
	require.Equal(t, text(t, want), text(t, got))
	require.Equal(t, text(t, events), text(t, gotEvents))
	alone, err := t.Get(t.Context(), want.ID)
	require.NoError(t, err)
	require.Equal(t, text(t, want), text(t, alone))
}

// absent checks that readers see no such intent.
func (t *tester) absent(id intent.ID) {
	t.Helper()
	_, err := t.Get(t.Context(), id)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, _, err = t.Events(t.Context(), id, 0)
	require.ErrorIs(t, err, store.ErrNotFound)
}

// text is how two values are compared: two times can be equal and not the same.
func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return string(b)
}

func ids(held []store.Held) (ids []intent.ID) {
	for _, h := range held {
		ids = append(ids, h.ID)
	}
	return ids
}

func idsOf(intents []intent.Intent) (ids []intent.ID) {
	for _, in := range intents {
		ids = append(ids, in.ID)
	}
	return ids
}

// A listener remembers the signals it heard.
type listener struct {
	mu    sync.Mutex
	heard []store.Signal
}

func (t *tester) listen() (l *listener, stop func()) {
	l = new(listener)
	stop = t.Listen(func(s store.Signal) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.heard = append(l.heard, s)
	})
	t.Cleanup(stop)
	return l, stop
}

func (l *listener) signals() []store.Signal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]store.Signal(nil), l.heard...)
}

// seeded returns a source of chance and says how to have the same again.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// canceled is a context that has ended.
func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

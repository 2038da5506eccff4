package storetest

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var signalTests = []test{
	{"events are signalled when they can be read", func(t *tester) {
		l, _ := t.listen()
		held := t.create()
		t.report(held, 1)
		signals := l.signals()
		require.Len(t, signals, 2)
		for _, s := range signals {
			require.Equal(t, store.Signal{ID: held.ID, Kind: store.Appended, News: s.News}, s)
		}
	}},
	{"news that comes with a signal is what can be read, and nobody else's to change", func(t *tester) {
		l, _ := t.listen()
		held := t.create()
		for _, percent := range []float64{1, 2, 3} {
			in, events := reading(held.Intent, percent)
			require.NoError(t, t.Append(t.Context(), change(held, in, events)))
			held.Intent = in
			events[0].Details.Message = "changed by the caller, whose it is"
			*events[0].Details.Progress = 99
		}
		in, stored, err := t.Events(t.Context(), held.ID, 0)
		require.NoError(t, err)
		var told []intent.Event
		for _, s := range l.signals() {
			if s.News == nil {
				return // this store has none at hand
			}
			require.Equal(t, in.Generation, s.News.Generation)
			for _, entry := range s.News.Events {
				var e intent.Event
				require.NoError(t, json.Unmarshal(entry.JSON, &e))
				require.Equal(t, store.Entry{Seq: e.Seq, Type: e.Type, Status: e.Status, JSON: entry.JSON}, entry)
				told = append(told, e)
			}
		}
		require.Equal(t, text(t, stored), text(t, told))
	}},
	{"a change without events is not", func(t *tester) {
		held, reserved := t.create(), t.reserve()
		l, _ := t.listen()
		require.NoError(t, t.Append(t.Context(), change(held, held.Intent, nil)))
		require.NoError(t, t.Append(t.Context(), change(reserved, reserved.Intent, nil)))
		t.release(held)
		require.Empty(t, l.signals())
	}},
	{"a refused change is not", func(t *tester) {
		held := t.create()
		t.take(held.ID)
		l, _ := t.listen()
		in, events := reading(held.Intent, 1)
		require.Error(t, t.Append(t.Context(), change(held, in, events)))
		require.Empty(t, l.signals())
	}},
	{"watching reaches every listener", func(t *tester) {
		one, _ := t.listen()
		two, _ := t.listen()
		id, until := t.request().ID, noon.Add(time.Minute)
		require.NoError(t, t.Watch(t.Context(), id, until))
		want := []store.Signal{{ID: id, Kind: store.Watched, Until: until}}
		require.Equal(t, want, one.signals())
		require.Equal(t, want, two.signals())
	}},
	{"who stopped hears no more, the others do", func(t *tester) {
		gone, stop := t.listen()
		l, _ := t.listen()
		stop()
		stop()
		t.create()
		require.Empty(t, gone.signals())
		require.Len(t, l.signals(), 1)
	}},
	{"stop waits for the call under way", func(t *tester) {
		entered, leave := make(chan struct{}), make(chan struct{})
		over := false
		stop := t.Listen(func(store.Signal) {
			close(entered)
			<-leave
			over = true
		})
		var wg sync.WaitGroup
		wg.Go(func() { _ = t.Watch(t.Context(), intent.ID{1}, noon) })
		<-entered
		stopped := make(chan bool)
		go func() {
			stop()
			stopped <- over
		}()
		close(leave)
		require.True(t, <-stopped)
		wg.Wait()
	}},
}

var closeTests = []test{
	{"afterwards every call says that the store is unavailable", func(t *tester) {
		held := t.report(t.create(), 1)
		require.NoError(t, t.Close())
		require.NoError(t, t.Close())
		in, events := reading(held.Intent, 2)
		for name, err := range map[string]error{
			"Get":     second(t.Get(t.Context(), held.ID)),
			"Events":  third(t.Events(t.Context(), held.ID, 0)),
			"ByJob":   second(t.ByJob(t.Context(), store.KeyOf(&held.Intent))),
			"List":    second(t.List(t.Context(), store.Filter{})),
			"Reserve": second(t.Reserve(t.Context(), t.request())),
			"Append":  t.Append(t.Context(), change(held, in, events)),
			"Drop":    t.Drop(t.Context(), held.ID, held.Epoch),
			"Claim":   second(t.Claim(t.Context(), 1)),
			"Take":    second(t.Take(t.Context(), held.ID)),
			"Renew":   second(t.Renew(t.Context(), []store.Lease{held.Lease})),
			"Release": t.Release(t.Context(), held.Lease),
			"Watch":   t.Watch(t.Context(), held.ID, noon),
			"Purge":   second(t.Purge(t.Context(), noon, 1)),
		} {
			require.ErrorIs(t, err, store.ErrUnavailable, name)
		}
		fresh, first := delivered(t.request(), "/status/1")
		_, err := t.Create(t.Context(), fresh, first)
		require.ErrorIs(t, err, store.ErrUnavailable)
	}},
	{"what was accepted is answered", func(t *tester) {
		requests := make([]intent.Intent, 16)
		answers := make([]error, len(requests))
		var wg sync.WaitGroup
		for i := range requests {
			in, events := delivered(t.request(), "/status/1")
			wg.Go(func() { _, answers[i] = t.Create(t.Context(), in, events) })
		}
		require.NoError(t, t.Close())
		wg.Wait()
		for _, err := range answers {
			if err != nil {
				require.ErrorIs(t, err, store.ErrUnavailable)
			}
		}
	}},
}

func second[A any](_ A, err error) error { return err }

func third[A, B any](_ A, _ B, err error) error { return err }

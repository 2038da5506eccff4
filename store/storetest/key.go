package storetest

import (
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// keyed makes a reservation with an idempotency key, whose request is not seen yet.
func (t *tester) keyed(key string) intent.Intent {
	in := t.request()
	in.ID = intent.NewID(in.Created, store.ShardAt(key, in.Created))
	in.Key, in.Request, in.Captured = key, nil, false
	return in
}

// settle makes a reservation an intent, with the answer to its submit.
func (t *tester) settle(held store.Held, replay store.Replay) intent.Intent {
	in, events := delivered(held.Intent, "/status/"+held.ID.String())
	in.Request, in.Captured = []byte(`{"seen":"late"}`), true
	c := change(held, in, events)
	c.Replay = &replay
	require.NoError(t, t.Append(t.Context(), c))
	return in
}

var keyTests = []test{
	{"of many reservations with one key one is stored", func(t *tester) {
		const many = 32
		var all sync.WaitGroup
		outcomes := make(chan error, many) // room for all: nobody waits
		for range many {
			in := t.keyed("k")
			all.Go(func() {
				_, err := t.Reserve(t.Context(), in)
				outcomes <- err
			})
		}
		all.Wait()
		close(outcomes)
		stored := 0
		for err := range outcomes {
			if err == nil {
				stored++
				continue
			}
			require.ErrorIs(t, err, store.ErrExists)
		}
		require.Equal(t, 1, stored)
	}},
	{"a reservation is found by its key, without an answer", func(t *tester) {
		held, err := t.Reserve(t.Context(), t.keyed("k"))
		require.NoError(t, err)
		in, replay, err := t.ByKey(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, held.ID, in.ID)
		require.True(t, in.Reserved())
		require.Zero(t, replay)
	}},
	{"an intent is found by its key, with the answer, also when it has ended", func(t *tester) {
		held, err := t.Reserve(t.Context(), t.keyed("k"))
		require.NoError(t, err)
		replay := store.Replay{Hash: []byte{1, 2}, Code: 202, Header: map[string][]string{"X-A": {"1", "2"}}, Body: []byte("accepted")}
		settled := t.settle(held, replay)
		for _, wantEnd := range []bool{false, true} {
			if wantEnd {
				settled = t.end(store.Held{Lease: held.Lease, Intent: settled})
			}
			in, got, err := t.ByKey(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, settled.Status, in.Status)
			require.Equal(t, replay, got)
			require.JSONEq(t, `{"seen":"late"}`, string(in.Request), "what was learnt of the request after it was reserved")
		}
		_, err = t.Reserve(t.Context(), t.keyed("k"))
		require.ErrorIs(t, err, store.ErrExists)
	}},
	{"a dropped reservation frees its key", func(t *tester) {
		held, err := t.Reserve(t.Context(), t.keyed("k"))
		require.NoError(t, err)
		require.NoError(t, t.Drop(t.Context(), held.ID, held.Epoch))
		_, _, err = t.ByKey(t.Context(), "k")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = t.Reserve(t.Context(), t.keyed("k"))
		require.NoError(t, err)
	}},
	{"a purged intent frees its key", func(t *tester) {
		held, err := t.Reserve(t.Context(), t.keyed("k"))
		require.NoError(t, err)
		last := t.end(store.Held{Lease: held.Lease, Intent: t.settle(held, store.Replay{Code: 202})})
		n, err := t.Purge(t.Context(), last.Expires, 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, _, err = t.ByKey(t.Context(), "k")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = t.Reserve(t.Context(), t.keyed("k"))
		require.NoError(t, err)
	}},
	{"no key is no key in common", func(t *tester) {
		for range 2 {
			_, err := t.Reserve(t.Context(), t.keyed(""))
			require.NoError(t, err)
		}
		_, _, err := t.ByKey(t.Context(), "")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
}

package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A sharedStore is one that several processes share.
type sharedStore interface {
	store.Store
	store.Teller
}

// Tellers tests the contract of stores that several processes share. open returns two
// that are one, which may be one and the same.
func Tellers[S sharedStore](t *testing.T, open func(t *testing.T) (one, other S)) {
	for _, test := range tellerTests {
		t.Run(test.promise, func(t *testing.T) {
			one, other := open(t)
			t.Cleanup(func() { _ = one.Close(); _ = other.Close() })
			test.run(&shared{tester: &tester{T: t, Store: one}, one: one, other: &tester{T: t, Store: other}, away: other})
		})
	}
}

// shared is a tester with two processes.
type shared struct {
	*tester
	one   store.Teller
	other *tester
	away  store.Teller // the other one
}

func (t *shared) tell(held store.Held, words, body string) store.Telling {
	t.Helper()
	said := store.Telling{At: time.Now(), Words: []byte(words), Mark: "mark of " + body, Body: []byte(body)}
	require.NoError(t, t.one.Tell(t.Context(), held.Lease, said))
	return said
}

func (t *shared) told(id intent.ID, known string) store.Telling {
	t.Helper()
	said, err := t.away.Told(t.Context(), id, known)
	require.NoError(t, err)
	return said
}

// hears waits for a signal: from one process to another it takes a moment.
func (t *shared) hears(l *listener, want store.Signal) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, s := range l.signals() {
			if s.ID == want.ID && s.Kind == want.Kind && s.Until.Sub(want.Until).Abs() < time.Minute {
				return true
			}
		}
		return false
	}, 30*time.Second, time.Millisecond)
}

var tellerTests = []struct {
	promise string
	run     func(*shared)
}{
	{"what is told can be read elsewhere, and is signalled", func(t *shared) {
		l, _ := t.other.listen()
		held := t.create()
		before := time.Now()
		said := t.tell(held, "words", "body")
		got := t.told(held.ID, "")
		require.Equal(t, "words", string(got.Words))
		require.Equal(t, "body", string(got.Body))
		require.Equal(t, said.Mark, got.Mark)
		require.False(t, got.At.After(said.At), "told as later than it was")
		require.Less(t, before.Sub(got.At), time.Minute)
		t.hears(l, store.Signal{ID: held.ID, Kind: store.Told})
	}},
	{"what is not told is not found", func(t *shared) {
		held := t.create()
		_, err := t.away.Told(t.Context(), held.ID, "")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = t.away.Told(t.Context(), t.request().ID, "")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"a body that is known is left out", func(t *shared) {
		held := t.create()
		said := t.tell(held, "words", "body")
		require.Nil(t, t.told(held.ID, said.Mark).Body)
		require.Equal(t, "body", string(t.told(held.ID, "another").Body))
	}},
	{"a body that is kept need not come again", func(t *shared) {
		held := t.create()
		said := t.tell(held, "words", "body")
		said.Words, said.Body = []byte("more words"), nil
		require.NoError(t, t.one.Tell(t.Context(), held.Lease, said))
		got := t.told(held.ID, "")
		require.Equal(t, "more words", string(got.Words))
		require.Equal(t, "body", string(got.Body))
	}},
	{"one that is not has to", func(t *shared) {
		held := t.create()
		said := store.Telling{At: time.Now(), Words: []byte("words"), Mark: "mark"}
		require.ErrorIs(t, t.one.Tell(t.Context(), held.Lease, said), store.ErrMissing)
		t.tell(held, "words", "body")
		require.ErrorIs(t, t.one.Tell(t.Context(), held.Lease, said), store.ErrMissing)
		require.Equal(t, "words", string(t.told(held.ID, "").Words))
	}},
	{"that there is no body can be told", func(t *shared) {
		held := t.create()
		t.tell(held, "words", "body")
		require.NoError(t, t.one.Tell(t.Context(), held.Lease, store.Telling{At: time.Now(), Words: []byte("none")}))
		got := t.told(held.ID, "mark of body")
		require.Equal(t, "none", string(got.Words))
		require.Empty(t, got.Mark)
		require.Nil(t, got.Body)
	}},
	{"an empty body is one", func(t *shared) {
		held := t.create()
		said := t.tell(held, "words", "")
		got := t.told(held.ID, "")
		require.Equal(t, said.Mark, got.Mark)
		require.NotNil(t, got.Body)
	}},
	{"only the holder tells", func(t *shared) {
		held := t.create()
		taken := t.other.take(held.ID)
		said := store.Telling{At: time.Now(), Words: []byte("words")}
		require.ErrorIs(t, t.one.Tell(t.Context(), held.Lease, said), store.ErrFenced)
		require.NoError(t, t.away.Tell(t.Context(), taken.Lease, said))
		require.ErrorIs(t, t.one.Tell(t.Context(), store.Lease{ID: t.request().ID, Epoch: 1}, said), store.ErrNotFound)
	}},
	{"who released tells no more", func(t *shared) {
		held := t.create()
		t.release(held)
		require.ErrorIs(t, t.one.Tell(t.Context(), held.Lease, store.Telling{At: time.Now()}), store.ErrFenced)
	}},
	{"who ended an intent may tell how", func(t *shared) {
		held := t.create()
		t.end(held)
		t.tell(held, "the last words", "body")
		require.Equal(t, "the last words", string(t.told(held.ID, "").Words))
	}},
	{"wanting and voiding reach the other", func(t *shared) {
		l, _ := t.other.listen()
		id, until := t.request().ID, time.Now().Add(10*time.Minute)
		require.NoError(t, t.one.Want(t.Context(), id, until))
		require.NoError(t, t.one.Void(t.Context(), id))
		t.hears(l, store.Signal{ID: id, Kind: store.Wanted, Until: until})
		t.hears(l, store.Signal{ID: id, Kind: store.Voided})
	}},
	{"afterwards every call says that the store is unavailable", func(t *shared) {
		held := t.create()
		require.NoError(t, t.Close())
		for name, err := range map[string]error{
			"Want": t.one.Want(t.Context(), held.ID, noon),
			"Void": t.one.Void(t.Context(), held.ID),
			"Tell": t.one.Tell(t.Context(), held.Lease, store.Telling{At: time.Now()}),
			"Told": second(t.one.Told(t.Context(), held.ID, "")),
		} {
			require.ErrorIs(t, err, store.ErrUnavailable, name)
		}
	}},
}

package storetest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store"
)

// Stats tests that a store which can tell how much it keeps tells the truth.
func Stats[S interface {
	store.Store
	Stats(ctx context.Context) (store.Stats, error)
}](t *testing.T, s S) {
	l := &tester{T: t, Store: s}
	want := func(running, ended, messages int) {
		t.Helper()
		got, err := s.Stats(t.Context())
		require.NoError(t, err)
		got.Size, got.Free = 0, 0
		require.Equal(t, store.Stats{Running: running, Ended: ended, Messages: messages}, got)
	}
	want(0, 0, 0)
	l.reserve()
	held := l.tells(l.report(l.create(), 1), "a", "b")
	l.create()
	want(3, 0, 2)
	l.end(held)
	want(2, 1, 2)
	require.NoError(t, l.Discard(t.Context(), l.messages()[0].MessageID))
	want(2, 1, 1)
	_, err := l.Purge(t.Context(), late.AddDate(1, 0, 0), 10)
	require.NoError(t, err)
	want(2, 0, 1)
	require.NoError(t, s.Close())
	_, err = s.Stats(t.Context())
	require.ErrorIs(t, err, store.ErrUnavailable)
}

package boltstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openIn(t, t.TempDir()) })
}

func TestStoreOutlivesItsProcess(t *testing.T) {
	storetest.Reopen(t, func(t *testing.T, dir string) store.Store { return openIn(t, dir) })
}

func TestStats(t *testing.T) {
	s := openIn(t, t.TempDir())
	st, err := s.Stats(t.Context())
	require.NoError(t, err)
	require.Positive(t, st.Size)
	storetest.Stats(t, s)
}

func TestAStoreKnowsSinceWhenItIs(t *testing.T) {
	dir, before := t.TempDir(), time.Now().Truncate(time.Second)
	s := openIn(t, dir)
	since := s.Since()
	require.False(t, since.Before(before))
	require.False(t, since.After(time.Now()))
	require.NoError(t, s.Close())
	_, _, err := Compact(pathIn(dir))
	require.NoError(t, err)
	require.Equal(t, since, openIn(t, dir).Since(), "it is the same store")
}

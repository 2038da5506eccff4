package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
	"github.com/caddy-intents/caddy-intents/store/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openIn(t, t.TempDir()) })
}

func TestStoreOutlivesItsProcess(t *testing.T) {
	storetest.Reopen(t, openIn)
}

func openIn(t *testing.T, dir string) store.Store {
	s, err := boltstore.Open(filepath.Join(dir, "data", "intents.db"), boltstore.Options{})
	require.NoError(t, err)
	return s
}

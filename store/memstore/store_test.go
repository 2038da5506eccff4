package memstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
	"github.com/caddy-intents/caddy-intents/store/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memstore.New() })
}

func TestStoreWorksInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		storetest.Live(t, s)
	})
}

func TestStats(t *testing.T) { storetest.Stats(t, memstore.New()) }

func TestTellersKeepTheContract(t *testing.T) {
	storetest.Tellers(t, func(*testing.T) (one, other *memstore.Store) {
		s := memstore.NewLeased(time.Minute)
		return s, s
	})
}

//go:build redis

package redisstore_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
	"github.com/caddy-intents/caddy-intents/store/storetest"
)

// pairs opens two stores that are one, again and again.
func pairs(o redisstore.Options) func(t *testing.T) (one, other *redisstore.Store) {
	return func(t *testing.T) (one, other *redisstore.Store) {
		o := o
		o.Prefix = rand.Text() + ":"
		return open(t, o), open(t, o)
	}
}

func TestTellersKeepTheContract(t *testing.T) {
	server := redistest.Start(t)
	storetest.Tellers(t, pairs(redisstore.Options{Addrs: []string{server.Addr}}))
}

func TestTellersOfAClusterKeepTheContract(t *testing.T) {
	nodes := redistest.StartCluster(t)
	storetest.Tellers(t, pairs(redisstore.Options{Mode: redisstore.Cluster, Addrs: redistest.Addrs(nodes)}))
}

// TestATellingIsNeverYoungerThanItWas is about a reader who compares a telling with what
// it has seen itself: what is told must not seem to be newer than it is.
func TestATellingIsNeverYoungerThanItWas(t *testing.T) {
	a, b := replicas(t, redistest.Start(t))
	held := create(t, a, "report")
	for _, age := range []time.Duration{0, time.Millisecond, 3 * time.Second} {
		at := time.Now().Add(-age)
		require.NoError(t, a.Tell(t.Context(), held.Lease, store.Telling{At: at, Words: []byte("words")}))
		for range 5 {
			told, err := b.Told(t.Context(), held.ID, "")
			require.NoError(t, err)
			require.False(t, told.At.After(at), "%s: by %s", age, told.At.Sub(at))
			require.Less(t, at.Sub(told.At), time.Minute)
		}
	}
}

func TestATellingIsForgotten(t *testing.T) {
	server := redistest.Start(t)
	a, _ := replicas(t, server)
	held := create(t, a, "report")
	require.NoError(t, a.Tell(t.Context(), held.Lease, store.Telling{At: time.Now(), Words: []byte("words"), Mark: "m", Body: []byte("body")}))
	keys, err := server.Do("EVAL", `local longest = 0
for _, key in ipairs(redis.call('KEYS', '*}t:*')) do longest = math.max(longest, redis.call('PTTL', key)) end
return longest > 0 and longest <= tonumber(ARGV[1])`, "0", "120000")
	require.NoError(t, err)
	require.Equal(t, ":1", keys)
}

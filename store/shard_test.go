package store_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestIDsSortByTheTimeWithinTheSecond(t *testing.T) {
	var before intent.ID
	for at := noon; at.Before(noon.Add(2 * time.Second)); at = at.Add(4 * time.Millisecond) {
		id := intent.NewID(at, store.ShardAt("", at))
		require.Negative(t, bytes.Compare(before[:], id[:]), "at %s", at)
		before = id
	}
}

func TestIDsTakeTurnsAmongShards(t *testing.T) {
	made := make([]int, store.Shards)
	for at := noon; at.Before(noon.Add(time.Second)); at = at.Add(time.Second / 2560) {
		made[store.ShardAt("", at)%store.Shards]++
	}
	for shard, n := range made {
		require.Equal(t, 2560/store.Shards, n, "shard %d", shard)
	}
}

func TestAnIntentIsInTheShardOfItsKeyWhenever(t *testing.T) {
	for i := range 100 {
		key := fmt.Sprint("key ", i)
		for at := noon; at.Before(noon.Add(time.Second)); at = at.Add(37 * time.Millisecond) {
			require.Equal(t, store.ShardOf(key), store.ShardAt(key, at)%store.Shards)
		}
	}
}

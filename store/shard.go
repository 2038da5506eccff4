package store

import (
	"crypto/sha256"
	"time"
)

// Shards is how many shards a store can tell apart: the low bits of the one in an id.
const Shards = 16

// ShardOf is where an idempotency key is, below Shards.
func ShardOf(key string) uint8 { return sha256.Sum256([]byte(key))[0] % Shards }

// ShardAt is the shard in the id of an intent that is made at now. Under an idempotency
// key, its low bits are the key's: a store that keeps its shards apart finds both in the
// same one. The other bits, and without a key all, are the time within the second, in
// steps of 62 or 4 ms: ids that are made one after the other are neighbours in a file,
// which grows at its edge then, and the shards take turns.
func ShardAt(key string, now time.Time) uint8 {
	part := uint8(int64(now.Nanosecond()) * 256 / int64(time.Second))
	if key == "" {
		return part
	}
	return part&^(Shards-1) | ShardOf(key)
}

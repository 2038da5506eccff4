package store

import (
	"crypto/sha256"
	"math/rand/v2"
)

// ShardOf is the shard in the id of an intent that is made under an idempotency key: a
// store that keeps its shards apart finds both in the same one. Without a key, any will
// do.
func ShardOf(key string) uint8 {
	if key == "" {
		return uint8(rand.UintN(256))
	}
	return sha256.Sum256([]byte(key))[0]
}

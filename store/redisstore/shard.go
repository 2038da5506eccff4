package redisstore

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// tags are the hash tags of the shards. Their slots are a sixteenth of all slots apart,
// so that the nodes of a cluster get equally many; the tags 0 to 15 would not be.
var tags = [store.Shards]string{"18", "455", "333", "223", "553", "443", "95", "663", "265", "375", "908", "155", "985", "895", "405", "515"}

// shardNames are what the keys of each shard begin with.
func shardNames(prefix string) []string {
	names := make([]string, len(tags))
	for i, tag := range tags {
		names[i] = fmt.Sprintf("%s{%s}", prefix, tag)
	}
	return names
}

// every are all shards.
func (s *Store) every() []int {
	all := make([]int, len(s.shards))
	for shard := range all {
		all[shard] = shard
	}
	return all
}

// shardOf is where an intent is.
func shardOf(id intent.ID) int { return int(id.Shard()) % len(tags) }

// shardOfKey is where an idempotency key is: with the intent that was made under it.
func shardOfKey(key string) int { return int(store.ShardOf(key)) }

// shardOfJob is where the index has a job, by its name there.
func shardOfJob(name string) int { return int(name[0]) % len(tags) }

// jobName is what the index calls a job: of one size, whatever the backend's URLs look
// like.
func jobName(key store.JobKey) string { return short(key.Scope, key.StatusURL, sha256.Size/2) }

// queueName is what the schedule calls a job of the config.
func queueName(scope, job string) string { return short(scope, job, 9) }

func short(scope, name string, size int) string {
	sum := sha256.Sum256([]byte(scope + "\x00" + name)) // no scope holds it, being a word of the config
	return base64.RawURLEncoding.EncodeToString(sum[:size])
}

// timeText orders by time, to the nanosecond, and has one size. Times before 1970, the
// zero time among them, come first.
func timeText(at time.Time) string {
	if at.Unix() < 0 {
		return fmt.Sprintf("%0*d", timeSize, 0)
	}
	return fmt.Sprintf("%0*d%09d", timeSize-9, at.Unix(), at.Nanosecond())
}

const timeSize = 20

func parseTime(text string) (time.Time, error) {
	var sec, nsec int64
	if _, err := fmt.Sscanf(text, "%11d%9d", &sec, &nsec); err != nil {
		return time.Time{}, fmt.Errorf("reading the time %q: %w", text, err)
	}
	return time.Unix(sec, nsec).UTC(), nil
}

package redisstore

import (
	"context"
	"errors"
	"time"
)

// Purge is the method of [store.Store]. The job index goes first: what is left over if
// this stops half way is found again, an entry that leads nowhere would not be. A shard
// that is away has to wait, and keeps no other waiting.
func (s *Store) Purge(ctx context.Context, now time.Time, n int) (int, error) {
	removed, at := 0, timeText(now)
	var failures []error
	for _, shard := range s.here() {
		gone, err := s.purgeOf(ctx, shard, at, n-removed)
		removed += gone
		failures = append(failures, err)
	}
	return removed, errors.Join(failures...)
}

// purgeOf is Purge for one shard.
func (s *Store) purgeOf(ctx context.Context, shard int, at string, n int) (int, error) {
	removed := 0
	for removed < n {
		want := min(n-removed, scriptLength)
		found, gone, err := s.purgeSome(ctx, shard, at, want)
		removed += gone
		if err != nil {
			return removed, err
		}
		if found < want {
			break
		}
	}
	return removed, nil
}

func (s *Store) purgeSome(ctx context.Context, shard int, at string, n int) (found, removed int, err error) {
	answer, err := s.run(ctx, call{scriptExpired, shard, []any{at, n}})
	if err != nil {
		return 0, 0, err
	}
	expired := slice(answer)
	if len(expired) == 0 {
		return 0, 0, nil
	}
	var unindex []call
	ids := []any{at, len(expired)}
	for _, one := range expired {
		parts := slice(one)
		if len(parts) != 2 {
			return 0, 0, errDamaged
		}
		ids = append(ids, parts[0])
		if job, _ := parts[1].(string); job != "" {
			unindex = append(unindex, call{scriptUnindex, shardOfJob(job), []any{job, parts[0]}})
		}
	}
	if len(unindex) > 0 {
		if _, err := s.runAll(ctx, unindex); err != nil {
			return len(expired), 0, err
		}
	}
	gone, err := s.run(ctx, call{scriptPurge, shard, ids})
	if err != nil {
		return len(expired), 0, err
	}
	count, _ := gone.(int64)
	return len(expired), int(count), nil
}

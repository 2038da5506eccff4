package redisstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// listLength bounds how many ids of a shard one exchange of List asks for, and how many
// intents it reads at once: the server does nothing else meanwhile.
const listLength = 100

// List is the method of [store.Reader].
func (s *Store) List(ctx context.Context, f store.Filter) (store.Page, error) {
	limit := cmp.Or(f.Limit, 100)
	var page store.Page
	looked, before := 0, f.Start()
	for {
		ids, err := s.younger(ctx, f.Owners, before, min(listLength, store.MaxLooked-looked))
		if err != nil || len(ids) == 0 {
			return page, err
		}
		some, err := s.getAll(ctx, ids)
		if err != nil {
			return store.Page{}, err
		}
		for i := range some {
			if !f.Picks(&some[i]) {
				continue
			}
			if len(page.Intents) == limit {
				page.Next = page.Intents[limit-1].ID
				return page, nil
			}
			page.Intents = append(page.Intents, some[i])
		}
		before = ids[len(ids)-1]
		if looked += len(ids); looked >= store.MaxLooked {
			page.Next = before
			return page, nil
		}
	}
}

// younger returns the next n ids older than before, the youngest first: of these
// owners, or of all.
func (s *Store) younger(ctx context.Context, owners []string, before intent.ID, n int) ([]intent.ID, error) {
	ctx, done, err := s.begin(ctx, s.every()...)
	if err != nil {
		return nil, err
	}
	defer done()
	from := "+"
	if before != (intent.ID{}) {
		from = "(" + before.String()
	}
	pipe := s.client.Pipeline()
	var commands []*redis.StringSliceCmd
	for _, shard := range s.shards {
		for _, key := range listKeys(shard, owners) {
			commands = append(commands, pipe.ZRangeArgs(ctx, redis.ZRangeArgs{
				Key: key, Start: from, Stop: "-", ByLex: true, Rev: true, Count: int64(n),
			}))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, s.failed(ctx, several, err)
	}
	var ids []intent.ID
	for _, c := range commands {
		for _, text := range c.Val() {
			id, err := intent.ParseID(text)
			if err != nil {
				return nil, errDamaged
			}
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b intent.ID) int { return bytes.Compare(b[:], a[:]) })
	return ids[:min(n, len(ids))], nil
}

func listKeys(shard string, owners []string) []string {
	if len(owners) == 0 {
		return []string{shard + "all"}
	}
	keys := make([]string, len(owners))
	for i, owner := range owners {
		keys[i] = shard + "own:" + owner
	}
	return keys
}

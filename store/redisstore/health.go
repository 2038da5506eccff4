package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/store"
)

// failed says in the words of package store what went wrong with a call about a shard. A
// server that does not answer is left alone until it does.
func (s *Store) failed(ctx context.Context, shard int, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errSilent):
		s.leave(shard, errSilent)
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errSilent)
	case ctx.Err() != nil:
		return ctx.Err()
	case hasPrefix(err, "OOM"):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case isNetwork(err):
		s.leave(shard, err)
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case hasPrefix(err, "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "NOAUTH", "WRONGPASS", "NOPERM", "MOVED", "UNKILLABLE", "BUSY"),
		errors.Is(err, redis.ErrClosed), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("asking Redis: %w", err)
}

// unsure is failed for a write: one that was sent and not answered may have happened.
func (s *Store) unsure(ctx context.Context, shard int, err error) error {
	var dial *net.OpError
	sent := isNetwork(err) && !(errors.As(err, &dial) && dial.Op == "dial")
	if said := s.failed(ctx, shard, err); !sent || !errors.Is(said, store.ErrUnavailable) {
		return said
	}
	return fmt.Errorf("storing in Redis without an answer: %w", err)
}

func hasPrefix(err error, prefixes ...string) bool {
	for _, p := range prefixes {
		if redis.HasErrorPrefix(err, p) {
			return true
		}
	}
	return false
}

// isNetwork reports whether err is no answer of a server.
func isNetwork(err error) bool {
	var answered redis.Error
	return !errors.As(err, &answered) && !errors.Is(err, redis.ErrClosed) &&
		!errors.Is(err, redis.ErrPoolTimeout) && !errors.Is(err, redis.ErrPoolExhausted)
}

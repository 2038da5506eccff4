package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/store"
)

// failed says in the words of package store what went wrong with a call. A server that
// does not answer is left alone until it does: thousands of callers that all wait for
// the same timeout help nobody.
func (s *Store) failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errSilent):
		s.leave(errSilent)
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errSilent)
	case ctx.Err() != nil:
		return ctx.Err()
	case hasPrefix(err, "OOM"):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case isNetwork(err):
		s.leave(err)
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case hasPrefix(err, "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "NOAUTH", "WRONGPASS", "NOPERM", "MOVED", "UNKILLABLE", "BUSY"),
		errors.Is(err, redis.ErrClosed), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("asking Redis: %w", err)
}

// unsure is failed for a write: one that was sent and not answered may have happened.
func (s *Store) unsure(ctx context.Context, err error) error {
	var dial *net.OpError
	sent := isNetwork(err) && !(errors.As(err, &dial) && dial.Op == "dial")
	if said := s.failed(ctx, err); !sent || !errors.Is(said, store.ErrUnavailable) {
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

// probeEvery is about how often a server that did not answer is asked again.
const probeEvery = 500 * time.Millisecond

// leave stops asking the server until it answers.
func (s *Store) leave(err error) {
	if s.cluster || !s.away.CompareAndSwap(false, true) {
		return // of a cluster, one node is away and the others are not
	}
	s.log.Error("Redis does not answer; intents are not stored until it does", "err", err)
	s.loops.Go(s.probe)
}

// probe asks the server until it answers. The first call that failed starts it, Close
// ends it.
func (s *Store) probe() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(probeEvery/2 + rand.N(probeEvery)):
		}
		ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
		err := s.client.Ping(ctx).Err()
		cancel()
		if err == nil {
			s.away.Store(false)
			s.log.Info("Redis answers again")
			return
		}
	}
}

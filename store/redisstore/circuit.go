package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/store"
)

// A circuit is the way to one shard, or to the one server that has them all. It is
// broken by a call that is not answered, and whole again when one of its own is: thousands
// of callers that all wait for the same timeout help nobody.
type circuit struct {
	shard int // that is asked for when it is probed

	mu     sync.Mutex
	broken bool
	mended time.Time // when it was whole again; zero if it never broke
}

func newCircuits(shards int) []circuit {
	all := make([]circuit, shards)
	for shard := range all {
		all[shard].shard = shard
	}
	return all
}

// circuitOf is the way to a shard.
func (s *Store) circuitOf(shard int) *circuit {
	if !s.cluster {
		shard = 0 // and so for several
	}
	return &s.circuits[shard]
}

// isAway reports whether a shard is not asked, because the server that has it does not
// answer.
func (s *Store) isAway(shard int) bool {
	c := s.circuitOf(shard)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// here are the shards that are asked.
func (s *Store) here() (shards []int) {
	for shard := range s.shards {
		if !s.isAway(shard) {
			shards = append(shards, shard)
		}
	}
	return shards
}

// isSettled reports whether leases of a shard that ended are nobody's. After an outage
// everybody's may be over, and whoever lives has a term to renew them.
func (s *Store) isSettled(shard int) bool {
	c := s.circuitOf(shard)
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.broken && (c.mended.IsZero() || time.Since(c.mended) > s.term)
}

// probeEvery is about how often a server that did not answer is asked again.
const probeEvery = 500 * time.Millisecond

// several stands for the shard of a call that is about more than one. Which of them has
// the server that does not answer is to be found out: the client says the same of all.
const several = -1

// leave stops asking the server that has a shard until it answers: all the other shards
// that it has are away, too.
func (s *Store) leave(shard int, err error) {
	if s.cluster && shard == several {
		s.examine()
		return
	}
	if !s.breakCircuit(shard) {
		return
	}
	if !s.cluster {
		s.log.Error("Redis does not answer; intents are not stored until it does", "err", err)
		return
	}
	node, broken := s.addressOf(shard), 1
	for other := range s.shards {
		if node != "" && s.addressOf(other) == node && s.breakCircuit(other) {
			broken++
		}
	}
	s.log.Error("a node of the cluster does not answer; intents in its shards are not stored until it, or another in its place, does",
		"node", node, "shards", broken, "err", err)
}

// breakCircuit has the way to a shard probed and not used until then. It reports whether
// it was whole.
func (s *Store) breakCircuit(shard int) bool {
	c := s.circuitOf(shard)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return false
	}
	c.broken = true
	s.loops.Go(func() { s.probe(c) })
	return true
}

// examine finds out which shards are away.
func (s *Store) examine() {
	if !s.examining.CompareAndSwap(false, true) {
		return
	}
	s.loops.Go(func() {
		defer s.examining.Store(false)
		for shard := range s.shards {
			if s.isAway(shard) {
				continue
			}
			if err := s.ask(shard); err != nil && s.ctx.Err() == nil {
				s.leave(shard, err)
			}
		}
	})
}

// ask looks whether the server that has a shard answers.
func (s *Store) ask(shard int) error {
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	err := s.client.Get(ctx, s.shards[shard]+"probe").Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// addressOf is that of the node which has a shard, as far as is known without asking;
// "" if it is not.
func (s *Store) addressOf(shard int) string {
	ctx, cancel := context.WithTimeout(s.ctx, probeEvery)
	defer cancel()
	node, err := s.node(ctx, shard)
	if err != nil {
		return ""
	}
	return node.Options().Addr
}

// probe asks for a shard of a circuit until it is answered. Whoever breaks the circuit starts it, Close
// ends it.
func (s *Store) probe(c *circuit) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(probeEvery/2 + rand.N(probeEvery)):
		}
		if s.ask(c.shard) == nil {
			break
		}
		if cluster, ok := s.client.(*redis.ClusterClient); ok {
			cluster.ReloadState(s.ctx) // another node may have the shard by now
		}
	}
	c.mu.Lock()
	c.broken, c.mended = false, time.Now()
	c.mu.Unlock()
	if len(s.here()) == len(s.shards) { // observers that were rung meanwhile could not look
		s.log.Info("Redis answers again")
		s.board.Post(store.Signal{Kind: store.Missed})
	}
}

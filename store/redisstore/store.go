// Package redisstore keeps intents in Redis, so that several machines can share them.
// Only this package imports go-redis.
//
// Each transition is a script in lua/, which happens whole or not at all and is told
// apart by its content, so that two releases can share a server. All that belongs to an
// intent is in one of 16 shards, each of which is one slot of a cluster; the job index
// alone is in shards of its own. What is hard to change about this is in the decision
// note on Redis.
//
// # What can go wrong with the server
//
//   - It does not answer, is loading, or has no master: [store.ErrUnavailable], at once
//     after the first time, until it answers again. Of a cluster that is so for the shards
//     of the node which does not answer; what is about all shards leaves these out where
//     that does no harm.
//   - A write was sent and not answered: an error of no kind. It is repeated once, which
//     the scripts bear; after that it may have happened or not.
//   - It has no memory left: [store.ErrFull].
//   - It comes back without its last changes, after a failover: holders and observers
//     find that out by the number of events.
package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/store"
)

// Store is a [store.Store]. Make it with [Open].
type Store struct {
	client  redis.UniversalClient
	log     *slog.Logger
	board   store.Board
	replica string   // who this is among those who share the server; another one after each start
	shards  []string // what the keys of each begin with
	term    time.Duration
	tails   *tails
	clock   *clock
	dials   *dials
	copies  int
	publish string // the command that rings
	cluster bool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	loops  sync.WaitGroup // follow, probe, examine

	circuits  []circuit   // to the shards; of the first one only, if one server has all
	examining atomic.Bool // examine is looking which shards are away

	calls  sync.RWMutex // read-locked by calls under way, so that Close can wait for them
	closed bool
}

var _ store.Store = (*Store)(nil)

// Open connects to the server and looks whether intents can be kept there.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.Complete(); err != nil {
		return nil, err
	}
	s := &Store{
		log: o.Logger, tails: newTails(), clock: newClock(), dials: newDials(), replica: rand.Text()[:10], shards: shardNames(o.Prefix), term: o.Term, copies: o.Copies,
		publish: "PUBLISH", cluster: o.Mode == Cluster,
	}
	if s.cluster {
		s.publish = "SPUBLISH" // a plain one goes to all nodes
	}
	s.circuits = newCircuits(len(s.shards))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	if s.client, err = o.connect(s.greet); err != nil {
		return nil, err
	}
	if err := s.inspect(ctx, o.Prefix); err != nil {
		_ = s.client.Close()
		return nil, fmt.Errorf("using Redis at %s: %w", o.Addrs[0], err)
	}
	s.startListening(ctx) // to every server
	s.tails.settle()
	return s, nil
}

// Close is the method of [store.Store].
func (s *Store) Close() error {
	s.calls.Lock()
	defer s.calls.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.cancel()
	s.loops.Wait()
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("closing the connections to Redis: %w", err)
	}
	return nil
}

// errSilent is the cause of a call's end that got no answer in time.
var errSilent = errors.New("no answer from Redis in time")

// begin lets a call about these shards go on until done, for as long as a server may take,
// or says why not.
func (s *Store) begin(ctx context.Context, shards ...int) (bounded context.Context, done func(), err error) {
	if err := ctx.Err(); err != nil {
		return ctx, nil, err
	}
	s.calls.RLock()
	if s.closed || slices.ContainsFunc(shards, s.isAway) {
		s.calls.RUnlock()
		return ctx, nil, store.ErrUnavailable
	}
	bounded, cancel := context.WithTimeoutCause(ctx, commandTimeout, errSilent)
	return bounded, func() { cancel(); s.calls.RUnlock() }, nil
}

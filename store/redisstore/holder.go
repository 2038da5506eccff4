package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// scriptLength bounds what one script claims, renews or removes: the server serves
// nobody else meanwhile. A hundred renewals take less than a millisecond.
const scriptLength = 100

// Term is the method of [store.Holder].
func (s *Store) Term() time.Duration { return s.term }

// Claim is the method of [store.Holder]. A shard that is away, or was just now, keeps
// nobody from the others.
func (s *Store) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	var claimed []store.Held
	var failures []error
	first := rand.IntN(len(s.shards)) // so that replicas do not go for the same ones
	for i := range s.shards {
		shard := (first + i) % len(s.shards)
		if s.cluster && !s.isSettled(shard) {
			continue // where all shards are away together, renewals tell whoever claims
		}
		some, err := s.claimFrom(ctx, shard, n-len(claimed), of)
		claimed = append(claimed, some...)
		failures = append(failures, err)
		if err != nil && !s.cluster {
			break
		}
	}
	s.repairIndex(ctx, claimed)
	return claimed, errors.Join(failures...)
}

// claimFrom is Claim for one shard.
func (s *Store) claimFrom(ctx context.Context, shard, n int, of []store.JobName) ([]store.Held, error) {
	var claimed []store.Held
	queues, err := s.queues(ctx, shard, of)
	if err != nil {
		return nil, err
	}
	for len(claimed) < n {
		want := min(n-len(claimed), scriptLength)
		some, err := s.claimOf(ctx, shard, want, queues)
		claimed = append(claimed, some...)
		if err != nil {
			return claimed, err
		}
		if len(some) < want {
			break
		}
	}
	return claimed, nil
}

// queues are the names of jobs in the schedule: of these, or of all there are.
func (s *Store) queues(ctx context.Context, shard int, of []store.JobName) ([]string, error) {
	if len(of) > 0 {
		names := make([]string, len(of))
		for i, job := range of {
			names[i] = queueName(job.Scope, job.Name)
		}
		return names, nil
	}
	ctx, done, err := s.begin(ctx, shard)
	if err != nil {
		return nil, err
	}
	defer done()
	names, err := s.client.HKeys(ctx, s.shards[shard]+"jobs").Result()
	return names, s.failed(ctx, shard, err)
}

func (s *Store) claimOf(ctx context.Context, shard, n int, queues []string) ([]store.Held, error) {
	args := []any{s.replica, s.term.Milliseconds(), n, flag(s.tails.doubtful()), len(queues)}
	for _, q := range queues {
		args = append(args, q)
	}
	asked := time.Now()
	answer, err := s.run(ctx, call{scriptClaim, shard, args})
	if err != nil {
		return nil, err
	}
	var claimed []store.Held
	for _, one := range slice(answer) {
		parts := slice(one)
		if len(parts) != 3 {
			return claimed, errDamaged
		}
		text, _ := parts[0].(string)
		id, err := intent.ParseID(text)
		if err == nil {
			var held store.Held
			if held, err = s.holding(id, parts[1:], asked); err == nil {
				claimed = append(claimed, held)
				continue
			}
		}
		// It keeps nobody from the others; it can be neither polled nor ended.
		s.log.Error("intent cannot be read", "intent", text, "err", err)
	}
	return claimed, nil
}

// holding reads what a script grants: an epoch and the fields of an intent.
func (s *Store) holding(id intent.ID, parts []any, asked time.Time) (store.Held, error) {
	if len(parts) != 2 {
		return store.Held{}, errDamaged
	}
	text, _ := parts[0].(string)
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return store.Held{}, errDamaged
	}
	in, found, err := decodeIntent(id, slice(parts[1]))
	if err != nil {
		return store.Held{}, err
	}
	if !found {
		return store.Held{}, errDamaged
	}
	lease := store.Lease{ID: id, Epoch: epoch}
	s.tails.grew(lease, &in)
	return store.Held{Lease: lease, Until: asked.Add(s.term), Intent: in}, nil
}

// repairIndex leads the jobs of intents to them where nothing does: a holder can have
// died after a change and before the index was written.
func (s *Store) repairIndex(ctx context.Context, held []store.Held) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return
	}
	defer done()
	pipe := s.client.Pipeline()
	for _, h := range held {
		if h.Intent.StatusURL == "" {
			continue
		}
		if job := jobName(store.KeyOf(&h.Intent)); !s.isAway(shardOfJob(job)) {
			pipe.SetNX(ctx, s.indexKey(job), h.ID.String(), 0)
		}
	}
	if pipe.Len() == 0 {
		return
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		s.log.Warn("repairing the job index", "err", err)
	}
}

// Take is the method of [store.Holder].
func (s *Store) Take(ctx context.Context, id intent.ID) (store.Held, error) {
	asked := time.Now()
	answer, err := s.run(ctx, call{scriptTake, shardOf(id), []any{id.String(), s.replica, s.term.Milliseconds()}})
	if err == nil {
		err = refused(answer)
	}
	if err != nil {
		return store.Held{}, err
	}
	return s.holding(id, slice(answer), asked)
}

// Renew is the method of [store.Holder]. A node that does not answer keeps no lease of
// another from being renewed. It is called so often that the clock is looked at by the
// way.
func (s *Store) Renew(ctx context.Context, leases []store.Lease) (lost []intent.ID, err error) {
	defer func() {
		if err == nil {
			_ = s.lookAtClock(ctx) // a server that did not tell does so the next time
		}
	}()
	if len(leases) == 0 {
		return nil, s.isThere(ctx)
	}
	byShard := make([][]store.Lease, len(s.shards))
	for _, l := range leases {
		shard := shardOf(l.ID)
		byShard[shard] = append(byShard[shard], l)
	}
	var partly store.PartlyError
	var failures []error
	for shard, some := range byShard {
		for batch := range slices.Chunk(some, scriptLength) {
			gone, err := s.renewOf(ctx, shard, batch)
			lost = append(lost, gone...)
			if err != nil {
				partly.Unknown = append(partly.Unknown, batch...)
				failures = append(failures, err)
			}
		}
	}
	if len(failures) == 0 {
		return lost, nil
	}
	partly.Err = errors.Join(slices.CompactFunc(failures, func(a, b error) bool { return a.Error() == b.Error() })...)
	if !s.cluster || len(s.here()) == 0 {
		return lost, partly.Err
	}
	return lost, &partly
}

// isThere looks whether a server answers, any one of a cluster.
func (s *Store) isThere(ctx context.Context) error {
	for _, shard := range s.here() {
		if _, err := s.renewOf(ctx, shard, nil); err == nil || !s.cluster {
			return err
		}
	}
	return store.ErrUnavailable
}

// renewOf is Renew for a few leases in one shard.
func (s *Store) renewOf(ctx context.Context, shard int, leases []store.Lease) (lost []intent.ID, err error) {
	answer, err := s.run(ctx, s.renewal(shard, leases))
	if err != nil {
		return nil, err
	}
	for _, text := range slice(answer) {
		id, err := intent.ParseID(text.(string))
		if err != nil {
			return lost, errDamaged
		}
		s.tails.forget(id)
		lost = append(lost, id)
	}
	return lost, nil
}

func (s *Store) renewal(shard int, leases []store.Lease) call {
	args := []any{s.replica, s.term.Milliseconds(), len(leases)}
	for _, l := range leases {
		args = append(args, l.ID.String(), l.Epoch)
	}
	return call{scriptRenew, shard, args}
}

// Release is the method of [store.Holder].
func (s *Store) Release(ctx context.Context, l store.Lease) error {
	s.tails.forget(l.ID)
	answer, err := s.run(ctx, call{scriptRelease, shardOf(l.ID), []any{l.ID.String(), l.Epoch, s.replica}})
	if err != nil {
		return err
	}
	return refused(answer)
}

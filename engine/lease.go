package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// The parts of a lease's term: it is renewed after a third of it, so that one renewal
// may fail, and what others have let go of is looked for four times as often as would do.
const (
	renewsPerTerm = 3
	looksPerTerm  = 15
)

// renewBatch bounds how many leases one call renews.
const renewBatch = 1000

// keepLeases renews what is held and claims what nobody holds, until Stop. Start starts
// it in place of claim, if the leases of the store end.
func (e *Engine) keepLeases() {
	look := e.ledger.term / looksPerTerm
	var k keeping
	for wait := rand.N(look); e.sleep(wait); wait = look {
		if time.Since(k.renewed) >= e.ledger.term/renewsPerTerm-look/2 && !e.renewAll(&k) {
			continue
		}
		// After an outage everybody's leases may be over. Whoever lives has time to renew
		// them first, or all intents would change hands.
		if !k.ailing.IsZero() && time.Since(k.ailing) < e.ledger.term {
			continue
		}
		k.ailing = time.Time{}
		e.claimFree(&k)
	}
}

// A keeping is what keepLeases remembers.
type keeping struct {
	renewed time.Time
	ailing  time.Time // when the store last did not answer; zero if that is long ago
	partly  bool      // some leases could not be renewed the last time
	failed  bool      // what nobody holds could not be claimed the last time
}

// renewAll renews what is held, and reports whether the store is there, or a part of it.
func (e *Engine) renewAll(k *keeping) bool {
	err := e.renew()
	_, partly := errors.AsType[*store.PartlyError](err)
	if err != nil && (partly && !k.partly || !partly && k.ailing.IsZero()) && e.ctx.Err() == nil {
		e.log().Error("renewing leases; what is held is let stand until the store answers", "err", err)
	}
	k.partly = partly
	if err != nil && !partly {
		k.ailing = time.Now()
		return false
	}
	k.renewed = time.Now()
	e.countUnheld()
	return true
}

// renew extends all leases, and forgets what was lost. The error is a store.PartlyError
// if only some could be asked about.
func (e *Engine) renew() error {
	ctx, cancel := context.WithTimeout(e.ctx, e.ledger.term/renewsPerTerm)
	defer cancel()
	leases := e.ledger.all()
	if len(leases) == 0 { // is the store there?
		_, err := e.ledger.renew(ctx, nil)
		return err
	}
	var partly error
	for some := range slices.Chunk(leases, renewBatch) {
		lost, err := e.ledger.renew(ctx, some)
		e.lose(lost)
		if _, ok := errors.AsType[*store.PartlyError](err); ok {
			partly = err
		} else if err != nil {
			return err
		}
	}
	return partly
}

// lose forgets what somebody else holds now, and what was kept of it: the new holder's
// readings are the truth. A step under way finds that out when it ends.
func (e *Engine) lose(lost []store.Lease) {
	if len(lost) > 0 {
		e.log().Info("somebody else holds what was held here", "count", len(lost), "intent", lost[0].ID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, lease := range lost {
		if h := e.holds[lease.ID]; h != nil && h.lease == lease && (h.ended || !h.busy) {
			e.rest(h)
			e.forget(h)
		}
	}
}

// claimFree claims what nobody holds of the jobs that there are, and what is past its
// deadline.
func (e *Engine) claimFree(k *keeping) {
	g := e.settings.Load()
	jobs := make([]store.JobName, 0, len(g.Jobs))
	for name := range g.Jobs {
		jobs = append(jobs, name)
	}
	if len(jobs) == 0 {
		return // to a store that would be any job
	}
	for e.ctx.Err() == nil {
		asked := time.Now()
		batch, err := e.store.Claim(e.ctx, claimBatch, jobs...)
		for i := range batch {
			e.resume(&batch[i])
		}
		if len(batch) > 0 {
			e.log().Info("claimed intents that nobody held", "count", len(batch))
		}
		if err != nil && !k.failed && e.ctx.Err() == nil {
			e.log().Error("claiming intents", "err", err)
		}
		if k.failed = err != nil; k.failed {
			return
		}
		if len(batch) < claimBatch || time.Since(asked) > e.ledger.term/renewsPerTerm {
			return
		}
	}
}

// countUnheld looks which intents nobody holds, and tells of jobs that nobody has. What
// was free a look ago, too, is not just on its way from one replica to another.
func (e *Engine) countUnheld() {
	unheld, err := e.store.Unheld(e.ctx)
	if err != nil {
		if e.ctx.Err() == nil {
			e.log().Error("counting intents that nobody holds", "err", err)
		}
		return
	}
	g := e.settings.Load()
	e.mu.Lock()
	before := e.unheld
	e.unheld = unheld
	e.mu.Unlock()
	for n, count := range unheld {
		if g != noSettings && g.Jobs[n] == nil && before[n] > 0 && e.told.first("parked", n.Scope, n.Name) {
			g.Logger.Warn("intents of a job that no config has wait for their deadline", "scope", n.Scope, "job", n.Name, "count", count)
		}
	}
}

// load reads the intent of h as it stands, with all that polls brought, if h may be acted
// on: who was paused, or cut off from the store, must not do what its successor does
// already.
func (e *Engine) load(ctx context.Context, h *held) (intent.Intent, error) {
	if e.ledger != nil {
		if err := e.ledger.check(h.lease); err != nil {
			return intent.Intent{}, err
		}
	}
	if err := e.writeKept(ctx, h); err != nil {
		return intent.Intent{}, err
	}
	return e.fetch(ctx, h)
}

// fetch reads the intent of h from the store.
//
// What has ended, or is not there, is let go: whoever reads that stops working on it, and
// a failover of the store can make it run again.
func (e *Engine) fetch(ctx context.Context, h *held) (intent.Intent, error) {
	in, err := e.store.Get(ctx, h.lease.ID)
	if e.ledger != nil && (errors.Is(err, store.ErrNotFound) || err == nil && in.Status.Terminal()) {
		e.ledger.letGo(h.lease)
	}
	return in, err
}

// lost reports whether somebody else holds h, as far as it is known here.
func (e *Engine) lost(h *held) bool {
	return e.ledger != nil && errors.Is(e.ledger.check(h.lease), store.ErrFenced)
}

// yield lets go of h, whose job is not in the config: another replica may have it. It
// reports whether it did; in a store that nobody else has, h is kept. The caller holds
// e.mu.
func (e *Engine) yield(h *held, now moment) bool {
	if e.ledger == nil || e.settings.Load() == noSettings || h.deadline <= now {
		return false
	}
	if e.told.first("yield", h.name.Scope, h.name.Name) {
		e.log().Warn("intents of a job that this config does not have are left to replicas that have it; without one they wait for their deadline",
			"scope", h.name.Scope, "job", h.name.Name)
	}
	e.ledger.letGo(h.lease)
	e.forget(h)
	return true
}

// releasers is how many leases are given back at the same time; releaseTimeout bounds
// that, since they end by themselves.
const (
	releasers      = 16
	releaseTimeout = 5 * time.Second
)

// releaseAll gives back what is held, so that others need not wait for the leases to end.
func (e *Engine) releaseAll() {
	if e.ledger == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	leases := make(chan store.Lease) // whoever is free takes the next
	var all sync.WaitGroup
	for range releasers {
		all.Go(func() {
			for lease := range leases {
				if ctx.Err() == nil {
					_ = e.ledger.Release(ctx, lease) // it ends by itself
				}
			}
		})
	}
	for _, lease := range e.ledger.all() {
		leases <- lease
	}
	close(leases)
	all.Wait()
}

package engine_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

const term = 15 * time.Second

// A replica is a tester among others: they share a store whose leases end, and a backend.
type replica struct {
	*tester
	cable *cable
	asked *askedBy
}

// replicas runs a test in virtual time with so many engines that are started.
func replicas(t *testing.T, n int, test func(t *testing.T, all []*replica)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		shared, backend := memstore.NewLeased(term), legacytest.New()
		var all []*replica
		for range n {
			r := newReplica(t, shared, backend)
			defer func() { r.engine.Stop() }()
			r.engine.Start()
			all = append(all, r)
		}
		test(t, all)
	})
}

func newReplica(t *testing.T, shared store.Store, backend *legacytest.Backend) *replica {
	r := &replica{cable: &cable{Store: shared}, asked: &askedBy{backend: backend}}
	r.tester = &tester{t: t, backend: backend, store: &moodyStore{Store: r.cable}, log: new(logLines)}
	r.engine = engine.New(r.store)
	r.engine.Confer(&line{Teller: shared.(store.Teller), cable: r.cable})
	r.reload(r.asked.bring)
	return r
}

// dies ends a replica as kill -9 does: it gives nothing back.
func (r *replica) dies() {
	r.cable.cut.Store(true)
	r.engine.Stop()
}

// polls counts those that this replica has made, since the last time.
func (r *replica) polls() int64 { return r.asked.polls.Swap(0) }

// askedBy is the way of one replica to the backend.
type askedBy struct {
	backend  *legacytest.Backend
	polls    atomic.Int64
	underWay atomic.Int64
	hangs    atomic.Bool // polls are not answered
}

func (a *askedBy) bring(job *engine.Job, _ *adapter.Spec) {
	job.Backend = &engine.Backend{Name: "default", Transport: a, InFlight: engine.DefaultInFlight, Rate: engine.DefaultRate}
}

func (a *askedBy) Send(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet {
		a.polls.Add(1)
	}
	a.underWay.Add(1)
	defer a.underWay.Add(-1)
	if r.Method == http.MethodGet && a.hangs.Load() {
		<-r.Context().Done()
		return r.Context().Err()
	}
	return a.backend.Send(w, r)
}

// A cable is what connects a replica to the store. It can be cut, or lose renewals only.
type cable struct {
	store.Store
	cut, losesRenewals atomic.Bool
	appends            atomic.Int64              // tried, also while it is cut
	lacks              atomic.Pointer[intent.ID] // that is in a part of the store which is away

	losesEnd atomic.Bool                   // the next end is stored, read once, and lost in a failover
	ended    atomic.Pointer[intent.Intent] // what is read then

	ahead time.Duration // of this machine's clock is that of the store
}

func (c *cable) Now() time.Time { return c.Store.Now().Add(c.ahead) }

func (c *cable) whole() error {
	if c.cut.Load() {
		return store.ErrUnavailable
	}
	return nil
}

func (c *cable) Get(ctx context.Context, id intent.ID) (intent.Intent, error) {
	if err := c.whole(); err != nil {
		return intent.Intent{}, err
	}
	if in := c.ended.Swap(nil); in != nil {
		return *in, nil
	}
	return c.Store.Get(ctx, id)
}

func (c *cable) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	if err := c.whole(); err != nil {
		return store.Held{}, err
	}
	return c.Store.Create(ctx, in, events)
}

func (c *cable) Append(ctx context.Context, ch store.Change) error {
	c.appends.Add(1)
	if err := c.whole(); err != nil {
		return err
	}
	if ch.Intent.Status.Terminal() && c.losesEnd.CompareAndSwap(true, false) {
		c.ended.Store(&ch.Intent)
		return errors.New("stored, and confirmed by too few replicas")
	}
	return c.Store.Append(ctx, ch)
}

func (c *cable) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	if err := c.whole(); err != nil {
		return nil, err
	}
	return c.Store.Claim(ctx, n, of...)
}

func (c *cable) Renew(ctx context.Context, leases []store.Lease) ([]intent.ID, error) {
	if err := c.whole(); err != nil || c.losesRenewals.Load() {
		return nil, store.ErrUnavailable
	}
	lacks := c.lacks.Load()
	if lacks == nil {
		return c.Store.Renew(ctx, leases)
	}
	partly := store.PartlyError{Err: store.ErrUnavailable}
	for _, l := range leases {
		if l.ID == *lacks {
			partly.Unknown = append(partly.Unknown, l)
		}
	}
	lost, err := c.Store.Renew(ctx, leases) // no time passes there, and nobody can claim it
	return lost, cmp.Or(err, error(&partly))
}

func (c *cable) Release(ctx context.Context, l store.Lease) error {
	if err := c.whole(); err != nil {
		return err
	}
	return c.Store.Release(ctx, l)
}

func TestAnIntentIsPolledByOneReplica(t *testing.T) {
	replicas(t, 3, func(t *testing.T, all []*replica) {
		id, job := all[0].submit()
		all[1].watch(id, time.Hour)
		all[0].advance(10 * time.Minute)
		require.InDelta(t, 300, all[0].polls(), 2, "somebody watches at another replica")
		require.Zero(t, all[1].polls())
		require.Zero(t, all[2].polls())
		all[0].backend.Finishes(job)
		all[0].advance(2 * time.Second)
		all[0].wantEvents(id, "created submitted delivered in_progress in_progress completed")
	})
}

func TestADeadReplicasIntentsAreTakenOverWithinALease(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, job := a.submit()
		b.watch(id, time.Hour)
		a.advance(time.Minute)
		a.dies()
		b.advance(term + time.Second)
		require.Zero(t, b.tester.get(id).Error)
		require.Positive(t, b.engineHolds(id), "it is b's now")
		b.backend.Finishes(job)
		b.advance(3 * time.Second)
		b.wantEvents(id, "created submitted delivered in_progress in_progress completed")
	})
}

// engineHolds is 1 if the engine of this replica holds the intent.
func (r *replica) engineHolds(id intent.ID) int {
	if _, ok := r.engine.Polling(id); ok {
		return 1
	}
	return 0
}

func TestWhatAStoppedReplicaHeldIsGivenBackAtOnce(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		var ids []intent.ID
		for range 40 {
			id, _ := a.submit()
			ids = append(ids, id)
		}
		a.engine.Stop()
		b.advance(term / 15)
		for _, id := range ids {
			require.Positive(t, b.engineHolds(id))
		}
	})
}

func TestAReplicaThatCannotRenewStopsBeforeItsLeaseEndsAndIsFencedAfterIt(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, job := a.submit()
		b.watch(id, time.Hour)
		a.advance(time.Minute)
		a.cable.losesRenewals.Store(true)
		a.advance(term / 3)
		a.polls()
		a.advance(term / 5)
		require.Positive(t, a.polls(), "it holds it still")
		require.Zero(t, b.polls())
		for b.engineHolds(id) == 0 {
			a.polls()
			b.advance(100 * time.Millisecond)
		}
		require.Zero(t, a.polls(), "it has stopped before")
		b.advance(10 * time.Second)
		require.Zero(t, a.polls(), "b does that")
		require.Positive(t, b.polls())
		a.cable.losesRenewals.Store(false)
		a.advance(time.Minute)
		require.Zero(t, a.polls())
		require.Zero(t, a.engineHolds(id))
		require.Len(t, a.log.with("somebody else holds what was held here"), 1)
		b.backend.Finishes(job)
		b.advance(3 * time.Second)
		b.wantEvents(id, "created submitted delivered in_progress in_progress completed")
	})
}

func TestAnEndThatAFailoverTookBackComesAgain(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, job := a.submit()
		b.watch(id, time.Hour)
		a.advance(5 * time.Second)
		a.cable.losesEnd.Store(true)
		_, err := a.engine.End(t.Context(), id, engine.Ending{})
		require.Error(t, err, "nobody knows whether it is stored")
		a.advance(10 * time.Second)
		require.Equal(t, intent.InProgress, b.get(id).Status)
		require.Zero(t, a.engineHolds(id), "it has read that it is over")
		a.backend.Finishes(job)
		a.advance(term + 5*time.Second)
		require.Equal(t, intent.Completed, b.get(id).Status)
	})
}

func TestAnEndOfWhichNobodyKnowsWhetherItIsStoredIsStoredAgain(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, job := a.submit()
		a.advance(5 * time.Second)
		a.cable.losesEnd.Store(true)
		a.backend.Finishes(job)
		a.advance(10 * time.Second)
		a.backend.Forgets(job)
		require.Equal(t, intent.Completed, b.get(id).Status)
		require.Zero(t, a.engineHolds(id))
	})
}

func TestIntentsDoNotChangeHandsInAnOutageOfTheStore(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		ofA, _ := a.submit()
		ofB, _ := b.submit()
		for _, outage := range []time.Duration{time.Second, term, 10 * term} {
			a.cable.cut.Store(true)
			b.cable.cut.Store(true)
			a.advance(outage)
			b.cable.cut.Store(false)
			a.advance(2 * time.Second)
			a.cable.cut.Store(false)
			a.advance(2 * term)
			require.Equal(t, []int{1, 0, 0, 1}, []int{a.engineHolds(ofA), a.engineHolds(ofB), b.engineHolds(ofA), b.engineHolds(ofB)})
		}
		a.polls()
		a.advance(2 * time.Minute)
		require.Positive(t, a.polls())
	})
}

func TestAPartOfTheStoreThatIsAwayEndsNoLeaseInTheRest(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		silent, silentJob := a.submit()
		id, job := a.submit()
		ofB, _ := b.submit()
		a.watch(id, time.Hour)
		a.watch(silent, time.Hour)
		b.dies()
		a.cable.lacks.Store(&silent)
		a.advance(term + 2*time.Second)
		require.Positive(t, a.engineHolds(ofB), "what nobody holds is claimed from the rest")
		before, silentBefore := a.backend.Polls(job), a.backend.Polls(silentJob)
		a.advance(time.Minute)
		require.InDelta(t, 30, a.backend.Polls(job)-before, 2)
		require.Zero(t, a.backend.Polls(silentJob)-silentBefore, "its lease is over")
		require.Len(t, a.log.with("renewing leases"), 1)
		a.cable.lacks.Store(nil)
		a.advance(term)
		require.Greater(t, a.backend.Polls(silentJob), silentBefore)
	})
}

func TestAnIntentOfAJobThatAReplicaLacksGoesToOneThatHasIt(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		rename := func(to string) func(*engine.Job, *adapter.Spec) {
			return func(job *engine.Job, _ *adapter.Spec) { job.Name = to }
		}
		a.reload(a.asked.bring, func(job *engine.Job, _ *adapter.Spec) { job.Deadline = time.Hour })
		id, _ := a.submit()
		a.watch(id, time.Hour)
		a.reload(a.asked.bring, rename("renamed"))
		a.advance(2*time.Second + term + time.Second)
		require.Positive(t, b.engineHolds(id))
		a.advance(term)
		in := a.get(id)
		require.False(t, a.engine.Parked(&in), "b has its job")
		require.Empty(t, a.parked())
		b.reload(b.asked.bring, rename("renamed"))
		b.advance(30 * time.Minute)
		require.Equal(t, []int{0, 0}, []int{a.engineHolds(id), b.engineHolds(id)}, "it is parked: nobody has its job")
		require.Len(t, b.log.with("left to replicas that have it"), 1)
		for _, r := range all {
			in := r.get(id)
			require.True(t, r.engine.Parked(&in))
			require.Equal(t, 1, r.parked()["report"])
			require.Len(t, r.log.with("a job that no config has"), 1)
		}
		b.advance(30 * time.Minute)
		require.Equal(t, intent.TimedOut, b.get(id).Status, "somebody ends it")
	})
}

// The clocks of the machines can be wrong: one for all is that of the store. It is months
// away here, so that a date by another clock is seen.
func TestWhatReplicasStoreIsDatedByTheClockOfTheStore(t *testing.T) {
	for _, ahead := range []time.Duration{100 * 24 * time.Hour, -100 * 24 * time.Hour} {
		replicas(t, 2, func(t *testing.T, all []*replica) {
			a, b := all[0], all[1]
			a.cable.ahead, b.cable.ahead = ahead, ahead
			begun := a.store.Now()
			id, job := a.submit()
			other, _ := a.submit()
			b.watch(id, 2*time.Minute)
			a.advance(time.Minute)
			require.InDelta(t, 37, a.polls(), 8, "30 for who watches")
			a.dies()
			b.advance(term + 3*time.Second)
			b.backend.Finishes(job)
			b.advance(3 * time.Second)
			require.Equal(t, intent.Completed, b.get(id).Status)
			b.advance(23*time.Hour + 58*time.Minute)
			require.Equal(t, intent.InProgress, b.get(other).Status, "its deadline is a day after its begin")
			b.advance(time.Minute)
			require.Equal(t, intent.TimedOut, b.get(other).Status)
			for _, id := range []intent.ID{id, other} {
				in, events, err := b.store.Events(t.Context(), id, 0)
				require.NoError(t, err)
				last := begun
				for _, e := range events {
					require.False(t, e.At.Before(last), "%s at %s", e.Type, e.At)
					last = e.At
				}
				for _, at := range []time.Time{in.Created, in.Updated, in.Deadline, in.Expires} {
					require.WithinDuration(t, begun, at, 49*time.Hour)
				}
			}
			b.advance(engine.DefaultRetention - 2*time.Minute)
			_, err := b.store.Get(t.Context(), other)
			require.NoError(t, err)
			b.advance(3 * time.Minute)
			_, err = b.store.Get(t.Context(), other)
			require.ErrorIs(t, err, store.ErrNotFound)
		})
	}
}

// parked counts the intents of jobs that no config has.
func (r *tester) parked() map[string]int {
	by := make(map[string]int)
	for _, c := range r.engine.Census() {
		if c.Parked > 0 {
			by[c.Name] = c.Parked
		}
	}
	return by
}

func TestIntentsOfAJobThatLeftTheConfigAreCountedAsParked(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.advance(time.Second)
		require.Empty(t, et.parked())
		et.reload(func(job *engine.Job, _ *adapter.Spec) { job.Name = "renamed" })
		et.advance(time.Second)
		in := et.get(id)
		require.True(t, et.engine.Parked(&in))
		require.Equal(t, map[string]int{"report": 1}, et.parked())
		et.reload()
		et.advance(time.Second)
		require.False(t, et.engine.Parked(&in))
		require.Empty(t, et.parked())
	})
}

func TestWhatIsCanceledAtAnotherReplicaIsPolledNoMore(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, _ := a.submit()
		a.advance(time.Second)
		in, err := b.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
		a.advance(time.Minute)
		a.polls()
		a.advance(time.Hour)
		require.Zero(t, a.polls())
		require.Zero(t, a.engineHolds(id))
	})
}

func TestARequestThatTakesLongIsNotTakenForLost(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		a.backend.Meets(legacytest.Submits, legacytest.Late(2*time.Minute), 1)
		answered := make(chan *httptest.ResponseRecorder)
		go func() {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{"kind":"annual"}`))
			_ = a.engine.Submit(w, r, engine.Submission{Job: a.job, Scheme: "https", Key: "k", Base: "/v1/intents"})
			answered <- w
		}()
		b.advance(time.Minute)
		held, _, err := b.store.ByKey(t.Context(), "k")
		require.NoError(t, err)
		require.True(t, held.Reserved(), "its request is under way")
		w := <-answered
		id, err := intent.ParseID(w.Header().Get("Intent-Id"))
		require.NoError(t, err, "answer %d %s", w.Code, w.Body)
		a.advance(time.Second)
		a.wantEvents(id, "created submitted delivered in_progress in_progress")
	})
}

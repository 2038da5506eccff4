//go:build redis

package redisstore_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
)

// shards is how many there are.
const shards = 16

// createIn makes an intent in a shard.
func createIn(t *testing.T, s store.Store, shard uint8) store.Held {
	t.Helper()
	now := time.Now().UTC()
	in := intent.Intent{ID: intent.NewID(now, shard), Origin: intent.Origin{
		Scope: "default", Job: "report", Created: now, Deadline: now.Add(24 * time.Hour),
	}}
	in, events := in.Begin(now)
	held, err := s.Create(t.Context(), in, events)
	require.NoError(t, err)
	return held
}

// getAll reads all of them at once and returns the errors in the order of the answers, by
// place.
func getAll(t *testing.T, s store.Store, all []store.Held) (order []int, errs []error) {
	var mu sync.Mutex
	errs = make([]error, len(all))
	var callers sync.WaitGroup
	for i := range all {
		callers.Go(func() {
			_, err := s.Get(t.Context(), all[i].ID)
			mu.Lock()
			defer mu.Unlock()
			order, errs[i] = append(order, i), err
		})
	}
	callers.Wait()
	return order, errs
}

func TestASilentNodeOfAClusterHoldsUpNobodyWhoNeedsAnother(t *testing.T) {
	nodes := redistest.StartCluster(t, "--cluster-require-full-coverage", "no")
	o := redisstore.Options{Mode: redisstore.Cluster, Addrs: redistest.Addrs(nodes), Prefix: "p:", Term: 5 * time.Second}
	s, other := open(t, o), open(t, o)
	var all []store.Held
	var leases []store.Lease
	for shard := range shards {
		held := createIn(t, s, uint8(shard))
		all, leases = append(all, held), append(leases, held.Lease)
	}
	_, errs := getAll(t, s, all)
	for _, err := range errs {
		require.NoError(t, err)
	}

	nodes[1].Pause(t)
	order, errs := getAll(t, s, all)
	var silent, healthy []int
	for at, i := range order {
		if errs[i] == nil {
			healthy = append(healthy, i)
			require.Equal(t, at, len(healthy)-1, "whoever asked a healthy node was answered before anybody gave up")
			continue
		}
		require.ErrorIs(t, errs[i], store.ErrUnavailable)
		silent = append(silent, i)
	}
	require.Len(t, healthy, shards-len(silent))
	require.Contains(t, []int{5, 6}, len(silent), "a third of the shards")

	asked := time.Now()
	for _, i := range silent {
		for range 5 {
			_, err := s.Get(t.Context(), all[i].ID)
			require.ErrorIs(t, err, store.ErrUnavailable)
		}
		require.ErrorIs(t, s.Append(t.Context(), reported(all[i], 1)), store.ErrUnavailable)
	}
	_, err := s.List(t.Context(), store.Filter{})
	require.ErrorIs(t, err, store.ErrUnavailable, "a part of a list would be taken for the whole")
	require.Less(t, time.Since(asked), 3*time.Second, "nobody waits once it is known")

	for _, i := range healthy {
		require.NoError(t, s.Append(t.Context(), reported(all[i], 1)))
	}
	_, err = s.Collect(t.Context(), time.Now(), time.Now().Add(time.Minute), 10)
	require.NoError(t, err)
	_, err = s.Purge(t.Context(), time.Now(), 10)
	require.NoError(t, err)

	// Leases of the healthy nodes are kept, and those that ended there taken over.
	renew := func() (unknown int) {
		lost, err := s.Renew(t.Context(), leases)
		if partly, ok := errors.AsType[*store.PartlyError](err); ok {
			err, unknown = nil, len(partly.Unknown)
		}
		if err != nil || len(lost) > 0 {
			t.Errorf("renewing: %v, lost %v", err, lost)
		}
		return unknown
	}
	_, _ = getAll(t, other, all) // it learns of it, too
	require.Equal(t, len(silent), renew())
	free := createIn(t, s, uint8(healthy[0]))
	var claimed []store.Held
	eventually(t, func() bool {
		renew()
		claimed = claim(t, other)
		return len(claimed) > 0
	})
	require.Len(t, claimed, 1)
	require.Equal(t, free.ID, claimed[0].ID)

	// When it is back, whoever lives renews first.
	nodes[1].Resume(t)
	claimed = nil
	eventually(t, func() bool {
		claimed = append(claimed, claim(t, other)...)
		return renew() == 0
	})
	require.Empty(t, claimed)
	for _, i := range silent {
		require.NoError(t, s.Append(t.Context(), reported(all[i], 1)))
	}
}

// Also for who asks for more than one shard, and is the first to notice.
func TestAServerThatHangsIsAskedAgainWhenItIsBack(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	held := createIn(t, s, 3)
	server.Pause(t)
	_, err := s.Collect(t.Context(), time.Now(), time.Now().Add(time.Minute), 10)
	require.ErrorIs(t, err, store.ErrUnavailable)
	asked := time.Now()
	for range 5 {
		_, err = s.Get(t.Context(), held.ID)
		require.ErrorIs(t, err, store.ErrUnavailable)
		_, err = s.List(t.Context(), store.Filter{})
		require.ErrorIs(t, err, store.ErrUnavailable)
	}
	require.Less(t, time.Since(asked), 3*time.Second, "nobody waits once it is known")
	heard := make(chan store.Signal, 8) // room for all: nobody waits
	s.Listen(func(signal store.Signal) { heard <- signal })
	server.Resume(t)
	require.Equal(t, store.Signal{Kind: store.Missed}, <-heard, "who could not read looks again")
	_, err = s.Get(t.Context(), held.ID)
	require.NoError(t, err)
	page, err := s.List(t.Context(), store.Filter{})
	require.NoError(t, err)
	require.Len(t, page.Intents, 1)
}

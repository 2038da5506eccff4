//go:build redis

package redisstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
	"github.com/caddy-intents/caddy-intents/store/storetest"
)

func TestAClusterKeepsTheContract(t *testing.T) {
	nodes := redistest.StartCluster(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, redisstore.Options{Mode: redisstore.Cluster, Addrs: redistest.Addrs(nodes)})
	})
	for _, n := range nodes {
		size, err := n.Do("DBSIZE")
		require.NoError(t, err)
		require.NotEqual(t, ":0", size, "every node has its share")
	}
}

func TestSentinelsKeepTheContract(t *testing.T) {
	guard := redistest.StartGuard(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, redisstore.Options{Mode: redisstore.Sentinel, Master: redistest.MasterName, Addrs: guard.Addrs(), Copies: 1})
	})
}

func TestReplicasHearEachOtherInACluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	o := redisstore.Options{Mode: redisstore.Cluster, Addrs: redistest.Addrs(nodes), Prefix: "p:"}
	a, b := open(t, o), open(t, o)
	heard := make(chan store.Signal, 64) // room for all: nobody waits
	b.Listen(func(s store.Signal) { heard <- s })
	for range 40 { // in all shards, most likely
		held := create(t, a, "report")
		require.Equal(t, store.Signal{ID: held.ID, Kind: store.Appended}, <-heard)
	}
}

// What was acknowledged with a copy on the replica is there after the master died.
func TestAFailoverLosesNothingThatAReplicaConfirmed(t *testing.T) {
	guard := redistest.StartGuard(t)
	s := open(t, redisstore.Options{Mode: redisstore.Sentinel, Master: redistest.MasterName, Addrs: guard.Addrs(), Copies: 1})
	started := time.Now()
	var mu sync.Mutex
	acked := make(map[intent.ID]int64) // seq that was acknowledged
	var refused int
	over := make(chan struct{})
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				in, events := begun("report")
				held, err := s.Create(t.Context(), in, events)
				mu.Lock()
				if err != nil {
					refused++
				} else {
					acked[in.ID] = in.Seq
				}
				mu.Unlock()
				if err != nil {
					continue
				}
				if c := reported(held, 1); s.Append(t.Context(), c) == nil {
					mu.Lock()
					acked[in.ID] = c.Intent.Seq
					mu.Unlock()
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	for range soak.Number(t, "INTENTS_FAILOVERS", 3) {
		before := count()
		eventually(t, func() bool { return count() > before+200 })
		guard.FailOver(t)
	}
	before := count()
	eventually(t, func() bool { return count() > before+200 })
	close(over)
	writers.Wait()
	lost := 0
	for id, seq := range acked {
		in, err := s.Get(t.Context(), id)
		if err != nil || in.Seq < seq {
			lost++
		}
	}
	t.Logf("%d intents acknowledged, %d refused, %d lost, in %s", len(acked), refused, lost, time.Since(started).Round(time.Millisecond))
	require.Zero(t, lost)
}

// Without copies a failover can lose the end of a log. Its holder notices, and so does who
// takes over from a holder that did not live to notice: the log begins another generation.
func TestALostTailRaisesTheGeneration(t *testing.T) {
	guard := redistest.StartGuard(t)
	o := redisstore.Options{Mode: redisstore.Sentinel, Master: redistest.MasterName, Addrs: guard.Addrs(), Prefix: "p:", Term: time.Second}
	a, b := open(t, o), open(t, o)
	kept, taken, steady := create(t, a, "report"), create(t, a, "report"), create(t, a, "report")
	renew := func() {
		_, err := a.Renew(t.Context(), []store.Lease{kept.Lease, steady.Lease})
		require.NoError(t, err)
	}
	guard.Nodes[0].Await(t, "WAIT 1 0", ":1")
	guard.CutLink(t)
	require.NoError(t, a.Append(t.Context(), reported(kept, 1)), "it is acknowledged, and will be lost")
	require.NoError(t, a.Append(t.Context(), reported(taken, 1)))
	guard.Nodes[0].Kill()
	guard.Master(t)

	var in intent.Intent
	eventually(t, func() bool {
		var err error
		in, err = a.Get(t.Context(), kept.ID)
		return err == nil
	})
	require.Equal(t, kept.Intent.Seq, in.Seq)
	require.EqualValues(t, 1, in.Generation)
	kept.Intent = in
	require.NoError(t, a.Append(t.Context(), reported(kept, 2)))
	in, err := b.Get(t.Context(), kept.ID)
	require.NoError(t, err)
	require.EqualValues(t, 1, in.Generation, "for everybody")

	var claimed []store.Held
	eventually(t, func() bool { renew(); claimed = append(claimed, claim(t, b)...); return len(claimed) > 0 })
	require.Equal(t, taken.ID, claimed[0].ID)
	require.EqualValues(t, 1, claimed[0].Intent.Generation)
	in, err = a.Get(t.Context(), steady.ID)
	require.NoError(t, err)
	require.Zero(t, in.Generation, "it lost nothing")
}

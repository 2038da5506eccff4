//go:build redis

package redisstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
	"github.com/caddy-intents/caddy-intents/store/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	server := redistest.Start(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, redisstore.Options{Addrs: []string{server.Addr}})
	})
}

// A connection can break after a command was done and before its answer came. The
// command is sent again then.
func TestAChangeWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	server := redistest.Start(t)
	proxy := newForgetful(t, server.Addr, everyThird())
	s := open(t, redisstore.Options{Addrs: []string{proxy.addr}})
	for range 30 {
		held := create(t, s, "report")
		for i := range 5 {
			c := reported(held, float64(i+1))
			require.NoError(t, s.Append(t.Context(), c))
			held.Intent = c.Intent
		}
		in, events, err := s.Events(t.Context(), held.ID, 0)
		require.NoError(t, err)
		require.Equal(t, held.Intent.Seq, in.Seq)
		require.Len(t, events, int(in.Seq))
		for i, e := range events {
			require.EqualValues(t, i+1, e.Seq)
		}
	}
	require.Greater(t, proxy.forgot.Load(), int64(50))
}

func TestALeaseEndsAndAnotherReplicaTakesOver(t *testing.T) {
	a, b := replicas(t, redistest.Start(t))
	held := create(t, a, "report")
	require.Empty(t, claim(t, b), "it is held")
	var taken []store.Held
	eventually(t, func() bool { taken = claim(t, b); return len(taken) == 1 })
	require.Equal(t, held.ID, taken[0].ID)
	require.ErrorIs(t, a.Append(t.Context(), reported(held, 1)), store.ErrFenced)
	require.ErrorIs(t, a.Release(t.Context(), held.Lease), store.ErrFenced)
	require.ErrorIs(t, a.Drop(t.Context(), held.ID, held.Epoch), store.ErrFenced)
	lost, err := a.Renew(t.Context(), []store.Lease{held.Lease})
	require.NoError(t, err)
	require.Equal(t, []intent.ID{held.ID}, lost)
	require.NoError(t, b.Append(t.Context(), reported(taken[0], 2)))
}

func TestARenewedLeaseDoesNotEnd(t *testing.T) {
	a, b := replicas(t, redistest.Start(t))
	held := create(t, a, "report")
	for until := held.Until.Add(a.Term()); time.Now().Before(until); {
		lost, err := a.Renew(t.Context(), []store.Lease{held.Lease})
		require.NoError(t, err)
		require.Empty(t, lost)
		require.Empty(t, claim(t, b))
	}
}

func TestAnEpochThatTwoReplicasHaveIsOfOneOfThem(t *testing.T) {
	server := redistest.Start(t)
	a, b := replicas(t, server)
	held := create(t, a, "report")
	// What b was granted is lost in a failover, and a has the old one again.
	taken, err := b.Take(t.Context(), held.ID)
	require.NoError(t, err)
	taken.Epoch = held.Epoch
	held, err = a.Take(t.Context(), held.ID)
	require.NoError(t, err)
	taken.Epoch = held.Epoch
	require.ErrorIs(t, b.Append(t.Context(), reported(taken, 1)), store.ErrFenced)
	require.NoError(t, a.Append(t.Context(), reported(held, 2)))
}

func TestAJobIsClaimedByWhoHasIt(t *testing.T) {
	a, b := replicas(t, redistest.Start(t))
	report, render := create(t, a, "report"), create(t, a, "render")
	require.NoError(t, a.Release(t.Context(), report.Lease))
	require.NoError(t, a.Release(t.Context(), render.Lease))
	require.Empty(t, claim(t, b, store.JobName{Scope: "default", Name: "other"}))
	got := claim(t, b, store.JobName{Scope: "default", Name: "other"}, store.JobName{Scope: "default", Name: "render"})
	require.Len(t, got, 1)
	require.Equal(t, render.ID, got[0].ID)
}

func TestWhatIsPastItsDeadlineIsClaimedByAnybody(t *testing.T) {
	a, b := replicas(t, redistest.Start(t))
	in, events := begun("report")
	in.Deadline = time.Now().Add(-time.Second)
	held, err := a.Create(t.Context(), in, events)
	require.NoError(t, err)
	other := store.JobName{Scope: "default", Name: "other"}
	require.Empty(t, claim(t, b, other), "it is held")
	require.NoError(t, a.Release(t.Context(), held.Lease))
	require.Len(t, claim(t, b, other), 1)
	require.Empty(t, claim(t, a, other))
}

func TestReplicasHearEachOther(t *testing.T) {
	a, b := replicas(t, redistest.Start(t))
	heard := make(chan store.Signal, 8) // room for all: nobody waits
	b.Listen(func(s store.Signal) { heard <- s })
	held := create(t, a, "report")
	require.Equal(t, store.Signal{ID: held.ID, Kind: store.Appended}, <-heard)
	until := time.Now().Add(time.Minute).Round(0)
	require.NoError(t, a.Watch(t.Context(), held.ID, until))
	got := <-heard
	require.Equal(t, store.Watched, got.Kind)
	require.WithinDuration(t, until, got.Until, time.Second, "by its own clock")
	require.NoError(t, a.Append(t.Context(), reported(held, 1)))
	require.Equal(t, store.Signal{ID: held.ID, Kind: store.Appended}, <-heard)
}

func TestReplicasHearEachOtherAfterTheConnectionBroke(t *testing.T) {
	server := redistest.Start(t)
	a, b := replicas(t, server)
	heard := make(chan store.Signal, 8) // room for all: nobody waits
	b.Listen(func(s store.Signal) { heard <- s })
	_, err := server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	require.NoError(t, err)
	require.Equal(t, store.Signal{Kind: store.Missed}, <-heard, "what was rung meanwhile")
	held := create(t, a, "report")
	require.Equal(t, store.Signal{ID: held.ID, Kind: store.Appended}, <-heard)
}

// A subscription can look healthy and bring nothing, as after a failover that left it on a
// server that nobody writes to. Whoever rings hears himself, or begins anew.
func TestASubscriptionThatBringsNothingIsNoticed(t *testing.T) {
	t.Parallel() // it waits most of the time
	server := redistest.Start(t)
	proxy := newForgetful(t, server.Addr, everyThird())
	s := open(t, redisstore.Options{Addrs: []string{proxy.addr}})
	heard := make(chan store.Signal, 8) // room for all: nobody waits
	s.Listen(func(s store.Signal) { heard <- s })
	proxy.muted.Store(true)
	require.Equal(t, store.Signal{Kind: store.Missed}, <-heard)
}

func TestScriptsAreBroughtToAServerThatLostThem(t *testing.T) {
	server := redistest.Start(t)
	for _, copies := range []int{0, 1} {
		a := open(t, redisstore.Options{Addrs: []string{server.Addr}, Copies: copies})
		_, err := server.Do("SCRIPT", "FLUSH")
		require.NoError(t, err)
		in, events := begun("report")
		_, err = a.Create(t.Context(), in, events)
		if copies == 1 {
			require.ErrorContains(t, err, "too few replicas")
			require.NotErrorIs(t, err, store.ErrUnavailable, "it is stored")
		} else {
			require.NoError(t, err)
		}
		_, err = a.Get(t.Context(), in.ID)
		require.NoError(t, err)
	}
}

func TestAServerThatIsAwayIsNoticedAtOnceAndUsedWhenItIsBack(t *testing.T) {
	server := redistest.Start(t)
	a, _ := replicas(t, server)
	held := create(t, a, "report")
	server.Kill()
	_, err := a.Get(t.Context(), held.ID)
	require.ErrorIs(t, err, store.ErrUnavailable)
	asked := time.Now()
	for range 1000 {
		in, events := begun("report")
		_, err := a.Create(t.Context(), in, events)
		require.ErrorIs(t, err, store.ErrUnavailable)
	}
	require.Less(t, time.Since(asked), 30*time.Second, "a thousand calls waited for nothing")
	server.Restart(t)
	eventually(t, func() bool { _, err := a.Get(t.Context(), held.ID); return err == nil })
	require.NoError(t, a.Append(t.Context(), reported(held, 1)), "the server remembers who holds it")
}

func TestAServerWithoutMemoryIsFull(t *testing.T) {
	server := redistest.Start(t)
	a := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	held := create(t, a, "report")
	_, err := server.Do("CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, err)
	in, events := begun("report")
	_, err = a.Create(t.Context(), in, events)
	require.ErrorIs(t, err, store.ErrFull)
	require.ErrorIs(t, a.Append(t.Context(), reported(held, 1)), store.ErrFull)
	_, err = a.Renew(t.Context(), []store.Lease{held.Lease})
	require.ErrorIs(t, err, store.ErrFull)
	_, err = a.Get(t.Context(), held.ID)
	require.NoError(t, err)
	_, err = server.Do("CONFIG", "SET", "maxmemory", "0")
	require.NoError(t, err)
	require.NoError(t, a.Append(t.Context(), reported(held, 1)))
}

func TestAServerThatWouldLoseIntentsIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		before   []string
		want     string
	}{
		"it evicts":            {[]string{"--maxmemory-policy", "allkeys-lru"}, []string{"PING"}, "set it to noeviction"},
		"other shards":         {nil, []string{"HSET", "intents:meta", "shards", "8"}, "with shards 8"},
		"a later schema":       {nil, []string{"HSET", "intents:meta", "schema", "2"}, "with schema 2"},
		"a password is needed": {[]string{"--requirepass", "x"}, []string{"PING"}, "NOAUTH"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, c.settings...)
			_, err := server.Do(c.before...)
			require.NoError(t, err)
			_, err = redisstore.Open(t.Context(), redisstore.Options{Addrs: []string{server.Addr}})
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestStats(t *testing.T) {
	s := open(t, redisstore.Options{Addrs: []string{redistest.Start(t).Addr}})
	storetest.Stats(t, s)
}

func TestWhatNobodyHoldsIsCountedByJob(t *testing.T) {
	server := redistest.Start(t)
	a := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	free := func(s store.Store) map[store.JobName]int {
		n, err := s.Unheld(t.Context())
		require.NoError(t, err)
		return n
	}
	report := store.JobName{Scope: "default", Name: "report"}
	held := create(t, a, "report")
	create(t, a, "report")
	create(t, a, "render")
	require.Empty(t, free(a))
	require.NoError(t, a.Release(t.Context(), held.Lease))
	require.Equal(t, map[store.JobName]int{report: 1}, free(a))
	require.Len(t, claim(t, a, report), 1)
	require.Empty(t, free(a))

	b, c := replicas(t, server)
	create(t, b, "report")
	eventually(t, func() bool { return free(c)[report] == 1 }) // its lease ends
}

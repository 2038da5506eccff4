package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

// A line is by what a replica tells others of its polls; it breaks with the cable.
type line struct {
	store.Teller
	cable *cable
}

func (l *line) Want(ctx context.Context, id intent.ID, until time.Time) error {
	if err := l.cable.whole(); err != nil {
		return err
	}
	return l.Teller.Want(ctx, id, until)
}

func (l *line) Tell(ctx context.Context, lease store.Lease, t store.Telling) error {
	if err := l.cable.whole(); err != nil {
		return err
	}
	return l.Teller.Tell(ctx, lease, t)
}

// polling is what a replica answers who asks for an intent.
func (r *replica) polling(id intent.ID) (p engine.Polled, took time.Duration) {
	begun := time.Now()
	r.engine.AwaitPolling(r.t.Context(), id)
	took = time.Since(begun)
	p, _ = r.engine.Polling(id)
	return p, took
}

func TestEveryReplicaKnowsHowAnIntentIsPolled(t *testing.T) {
	replicas(t, 3, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, _ := a.submit()
		for _, trouble := range []bool{false, true} {
			if trouble {
				a.backend.Meets(legacytest.Polls, legacytest.Code(503, ""), legacytest.Always)
			}
			for range 5 {
				a.advance(3 * time.Second)
				want, held := a.engine.Polling(id)
				require.True(t, held)
				got, took := b.polling(id)
				require.Zero(t, took)
				require.False(t, got.Last.After(want.Last))
				require.WithinDuration(t, want.Last, got.Last, time.Millisecond)
				require.WithinDuration(t, want.Next, got.Next, time.Millisecond)
				require.Equal(t, want.Failures, got.Failures)
				require.WithinDuration(t, want.Failing, got.Failing, time.Millisecond)
			}
			got, _ := b.polling(id)
			require.Equal(t, trouble, got.Failures > 0)
		}
		_, held := b.engine.Polling(id)
		require.False(t, held, "it asks, and does not take over")
	})
}

func TestAGlanceFromAnotherReplicaChangesNoPace(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, _ := a.submit()
		a.advance(20 * time.Minute) // the interval has grown to its longest
		a.polls()
		for range 60 {
			b.polling(id)
			a.advance(10 * time.Second)
		}
		require.LessOrEqual(t, a.polls(), int64(26), "one every 30 seconds, more or less a fifth")
	})
}

func TestWhoIsToldNothingWaitsOnce(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, _ := a.submit()
		a.dies()
		_, first := b.polling(id)
		require.Equal(t, 500*time.Millisecond, first)
		_, second := b.polling(id)
		require.Zero(t, second)
		b.advance(term + 5*time.Second)
		p, held := b.engine.Polling(id)
		require.True(t, held)
		require.NotZero(t, p.Last)
	})
}

func TestAReplicaThatTakesOverGoesOnFromTheLastPoll(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, _ := a.submit()
		for range 4 { // who follows it at b
			b.engine.Look(id)
			a.advance(2 * time.Second)
		}
		standing := b.engine.Look(id)
		require.Equal(t, engine.Current, standing.State)
		require.NotNil(t, standing.Answer)
		a.dies()
		b.advance(term + 3*time.Second)
		again := b.engine.Look(id)
		require.NotNil(t, again.Answer)
		require.False(t, again.Asked.Before(standing.Asked), "what was read before is not forgotten, nor put above what is read now")
		require.False(t, again.Since.Before(standing.Since))
	})
}

func TestShareWaitsForThePollOfAnotherReplica(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*replica) {
		a, b := all[0], all[1]
		id, _ := a.submit()
		for range 4 {
			b.engine.Look(id)
			a.advance(2 * time.Second)
		}
		a.backend.Meets(legacytest.Polls, legacytest.Late(100*time.Millisecond), legacytest.Always)
		before := b.engine.Look(id)
		for b.engine.Look(id).State == engine.Current {
			a.advance(time.Millisecond)
		}
		require.Equal(t, engine.Due, b.engine.Look(id).State)
		after := b.engine.Share(t.Context(), id)
		require.Equal(t, engine.Current, after.State)
		require.True(t, after.Asked.After(before.Asked))
	})
}

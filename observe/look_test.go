package observe

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

func TestObserversWokenByOneRingShareARead(t *testing.T) {
	runByBells(t, func(t *testing.T, tt *tester) {
		reads := countReads(tt)
		job := tt.begins()
		var all []*observer
		for range 20 {
			all = append(all, tt.observes(job.stream()+"?heartbeat=60").opens())
		}
		for _, obs := range all {
			obs.wantSeqs(1, 3)
		}
		for seq := int64(4); seq < 8; seq++ {
			before := reads.made.Load()
			job.says("row " + string(rune('a'+seq)))
			tt.passes(time.Second)
			for _, obs := range all {
				obs.wantSeqs(seq, seq)
			}
			require.EqualValues(t, 1, reads.made.Load()-before)
		}
		for _, obs := range all {
			obs.leave()
		}
	})
}

func TestWhoHasJustLookedIsInNoHurryToCheck(t *testing.T) {
	runByBells(t, func(t *testing.T, tt *tester) {
		reads := countReads(tt)
		busy, quiet := tt.begins(), tt.begins()
		one, both := tt.observes(busy.stream()+"?heartbeat=60").opens(), tt.observes(together(busy, quiet)+"&heartbeat=60").opens()
		one.rest()
		both.rest()
		tt.passes(store.CheckInterval - time.Second)
		busy.says("halfway")
		tt.passes(0)
		one.wantSeqs(4, 4)
		require.Len(t, both.rest(), 1)
		before := reads.made.Load()
		tt.passes(store.CheckInterval - time.Second)
		require.EqualValues(t, 2, reads.made.Load()-before, "who follows another as well has not looked for that")
		tt.passes(time.Second)
		require.EqualValues(t, 3, reads.made.Load()-before)

		// What it put off for was a look. Without one the check stays where it was.
		tt.passes(store.CheckInterval - 2*time.Second)
		both.leave()
		reads.failing.Store(1)
		busy.says("nearly")
		tt.passes(0)
		one.wantNothing()
		tt.passes(2 * time.Second)
		one.wantSeqs(5, 5)
		one.leave()
	})
}

func TestAReadThatFailsIsSharedByNobody(t *testing.T) {
	runByBells(t, func(t *testing.T, tt *tester) {
		reads := countReads(tt)
		job := tt.begins()
		var all []*observer
		for range 3 {
			all = append(all, tt.observes(job.stream()+"?heartbeat=60").opens())
		}
		for _, obs := range all {
			obs.wantSeqs(1, 3)
		}
		before := reads.made.Load()
		reads.failing.Store(1)
		job.says("halfway")
		tt.passes(0)
		require.EqualValues(t, 3, reads.made.Load()-before, "the others read for themselves")
		tt.passes(store.CheckInterval)
		for _, obs := range all {
			obs.wantSeqs(4, 4)
			obs.leave()
		}
	})
}

// countedReads counts how often events are read, and fails as often as it is told.
type countedReads struct {
	store.Store
	made, failing atomic.Int64
}

func countReads(tt *tester) *countedReads {
	c := &countedReads{Store: tt.store.Store}
	tt.store.Store = c
	return c
}

func (c *countedReads) Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error) {
	c.made.Add(1)
	if c.failing.Add(-1) >= 0 {
		return intent.Intent{}, nil, errors.New("no answer")
	}
	return c.Store.Events(ctx, id, after)
}

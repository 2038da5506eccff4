package engine_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// A busyStore counts the writes that are under way. They go on when it is opened.
type busyStore struct {
	store.Store
	open    chan struct{}
	writing atomic.Int32
}

func (s *busyStore) Append(ctx context.Context, c store.Change) error {
	s.writing.Add(1)
	defer s.writing.Add(-1)
	<-s.open
	return s.Store.Append(ctx, c)
}

func TestAnyNumberOfDeadlinesThatHavePassedIsEndedAFewAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		const many = 1000
		var all []intent.ID
		for range many {
			id, _ := et.submit()
			all = append(all, id)
		}
		et.engine.Stop()
		et.advance(48 * time.Hour)

		et.store = &moodyStore{Store: et.store.Store.(*memstore.Store).Reopen()}
		busy := &busyStore{Store: et.store, open: make(chan struct{})}
		e := engine.New(busy)
		defer e.Stop()
		e.Start()
		synctest.Wait()
		require.EqualValues(t, 256, busy.writing.Load())
		close(busy.open)
		synctest.Wait()
		for _, id := range all {
			require.Equal(t, intent.TimedOut, et.get(id).Status)
		}
	})
}

package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var concurrencyTests = []test{
	{"of many writers of one seq exactly one wins", func(t *tester) {
		held := t.create()
		const writers, rounds = 16, 20
		for round := range rounds {
			answers := make([]error, writers)
			states := make([]intent.Intent, writers)
			var wg sync.WaitGroup
			for i := range writers {
				in, events := reading(held.Intent, float64(round)+float64(i+1)/100)
				states[i] = in
				wg.Go(func() { answers[i] = t.Append(t.Context(), change(held, in, events)) })
			}
			wg.Wait()
			wins := 0
			for i, err := range answers {
				if err == nil {
					wins++
					held.Intent = states[i]
					continue
				}
				require.ErrorIs(t, err, store.ErrConflict)
			}
			require.Equal(t, 1, wins)
		}
		in, events := t.get(held.ID)
		require.Equal(t, text(t, held.Intent), text(t, in))
		require.Len(t, events, 3+rounds)
		for i, event := range events {
			require.EqualValues(t, i+1, event.Seq)
		}
	}},
	{"of many who adopt one job exactly one wins", func(t *tester) {
		for round := range 10 {
			t.oneWins(func() func() error {
				in, events := delivered(t.request(), fmt.Sprintf("/status/%d", round))
				return func() error {
					_, err := t.Adopt(t.Context(), in, events, intent.ID{})
					return err
				}
			})
		}
	}},
	{"of many creators of one id exactly one wins", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		t.oneWins(func() func() error {
			return func() error {
				_, err := t.Create(t.Context(), in, events)
				return err
			}
		})
	}},
	{"each taker gets an epoch of its own", func(t *tester) {
		held := t.create()
		epochs := make([]int64, 16)
		var wg sync.WaitGroup
		for i := range epochs {
			wg.Go(func() {
				taken, _ := t.Take(t.Context(), held.ID)
				epochs[i] = taken.Epoch
			})
		}
		wg.Wait()
		seen := map[int64]bool{held.Epoch: true, 0: true}
		for _, epoch := range epochs {
			require.False(t, seen[epoch], "epoch %d", epoch)
			seen[epoch] = true
		}
	}},
	{"many claimers share what there is", func(t *tester) {
		const intents = 200
		for range intents {
			t.release(t.create())
		}
		claimed := make([][]store.Held, 8)
		var wg sync.WaitGroup
		for i := range claimed {
			wg.Go(func() {
				for {
					held, err := t.Claim(t.Context(), 7)
					claimed[i] = append(claimed[i], held...)
					if err != nil || len(held) < 7 {
						return
					}
				}
			})
		}
		wg.Wait()
		seen := make(map[intent.ID]bool)
		for _, held := range claimed {
			for _, h := range held {
				require.False(t, seen[h.ID], "claimed twice")
				seen[h.ID] = true
			}
		}
		require.Len(t, seen, intents)
	}},
	{"a reader sees an intent and its events as of one moment", func(t *tester) {
		held := t.create()
		id := held.ID
		over := make(chan struct{})
		torn := make([]bool, 4)
		var wg sync.WaitGroup
		for i := range torn {
			wg.Go(func() {
				for {
					in, events, err := t.Events(t.Context(), id, 0)
					torn[i] = torn[i] || err != nil || in.Seq != int64(len(events)) || in.Message != events[len(events)-1].Details.Message
					select {
					case <-over:
						return
					default:
					}
				}
			})
		}
		for i := range 50 {
			held = t.report(held, float64(i+1))
		}
		close(over)
		wg.Wait()
		require.NotContains(t, torn, true)
	}},
}

// oneWins lets sixteen try at the same time what prepare makes for each of them. One
// succeeds, and all others are told that it is there already.
func (t *tester) oneWins(prepare func() (try func() error)) {
	t.Helper()
	const tries = 16
	var wins, exists atomic.Int64
	var wg sync.WaitGroup
	for range tries {
		try := prepare()
		wg.Go(func() {
			switch err := try(); {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, store.ErrExists):
				exists.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, wins.Load())
	require.EqualValues(t, tries-1, exists.Load())
}

package observe

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/store"
)

func TestWhatWasJustStoredIsToldWithoutARead(t *testing.T) {
	runWith(t, false, func(t *testing.T, tt *tester) {
		reads := countReads(tt)
		job, other := tt.begins(), tt.begins()
		var all []*observer
		for range 20 {
			all = append(all, tt.observes(job.stream()+"?heartbeat=60").opens())
		}
		both, stranger := tt.observes(together(job, other)+"&heartbeat=60").opens(), tt.observes(other.stream()+"?heartbeat=60").opens()
		all[0].wantSeqs(1, 3)
		stranger.wantSeqs(1, 3)
		seen := follower{}
		seen.takes(t, both.rest())
		reads.failing.Store(1000)
		job.says("one")
		tt.passes(time.Second)
		job.completes(`{"a":"<b>\u2028"}`)
		tt.passes(0)
		all[0].wantSeqs(4, 5)
		all[0].wantEnd()
		for _, obs := range all[1:] {
			obs.wantSeqs(1, 5)
			obs.wantEnd()
		}
		seen.takes(t, both.rest())
		require.EqualValues(t, 5, seen[job.in.ID])
		stranger.wantNothing()

		// Who comes later reads the very same.
		reads.failing.Store(0)
		late := tt.observes(job.stream()).opens()
		late.wantSeqs(1, 5)
		require.Equal(t, all[0].last, late.last)
		both.leave()
		stranger.leave()
	})
}

func TestATailIsShortAndGoneWhenAllHaveLooked(t *testing.T) {
	runWith(t, false, func(t *testing.T, tt *tester) {
		job := tt.begins()
		slow, obs := tt.observes(job.stream()).opens(), tt.observes(job.stream()+"?heartbeat=60").opens()
		slow.wantSeqs(1, 3)
		obs.wantSeqs(1, 3)
		room := tt.hub.rooms[job.in.ID]
		slow.conn.stops(os.ErrDeadlineExceeded)
		for n := range 8 {
			job.says(fmt.Sprint(n, strings.Repeat("x", 1000*(n%2))))
			tt.passes(time.Second)
			require.LessOrEqual(t, len(room.tail.facts), maxTail)
			require.LessOrEqual(t, room.tail.size, maxTailBytes)
			require.Equal(t, n > 0, room.rung == 1, "the first write has looked, and is stuck")
		}
		require.NotEmpty(t, room.tail.facts)
		slow.conn.goesOn()
		tt.passes(0)
		require.Zero(t, room.rung)
		require.Zero(t, room.tail)
		slow.wantSeqs(4, 11)
		obs.wantSeqs(4, 11)

		slow.conn.stops(os.ErrDeadlineExceeded)
		for range 2 {
			tt.passes(time.Second)
			job.says(time.Now().String())
		}
		tt.passes(writeTimeout)
		slow.wantCut()
		require.Zero(t, room.tail, "who has left waits for nothing")
		obs.leave()
	})
}

// TestWhateverSignalsBringEveryEventComesOnceAndInOrder has signals come without their
// news, late, twice or not at all, to observers some of whom stop reading now and then.
func TestWhateverSignalsBringEveryEventComesOnceAndInOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		runWith(t, false, func(t *testing.T, tt *tester) {
			var held []store.Signal
			tt.store.distort = func(s store.Signal) (heard []store.Signal) {
				switch random.IntN(6) {
				case 0:
					s.News = nil
				case 1:
					held = append(held, s)
					return nil
				case 2:
					return nil
				case 3:
					return []store.Signal{s, s}
				case 4:
					heard, held = append(heard, held...), nil
					return append([]store.Signal{s}, heard...)
				}
				return []store.Signal{s}
			}
			jobs := []*job{tt.begins(), tt.begins()}
			var all []*observer
			seen := make([]follower, 6)
			for i := range seen {
				target := jobs[i%2].stream() + "?heartbeat=60"
				if i > 3 {
					target = together(jobs...) + "&heartbeat=60"
				}
				all, seen[i] = append(all, tt.observes(target).opens()), follower{}
			}
			for range 40 {
				jobs[random.IntN(2)].says(fmt.Sprint(random.Uint64()))
				tt.passes(time.Duration(random.IntN(3)) * time.Second / 2)
				for i, obs := range all {
					switch random.IntN(8) {
					case 0:
						obs.conn.stops(os.ErrDeadlineExceeded)
					case 1, 2, 3:
						obs.conn.goesOn()
					}
					seen[i].takes(t, obs.rest())
				}
				tt.passes(time.Second)
			}
			for _, obs := range all {
				obs.conn.goesOn()
			}
			tt.passes(store.CheckInterval)
			for i, obs := range all {
				seen[i].takes(t, obs.rest())
				select {
				case <-obs.done: // it was too slow
				default:
					for id, seq := range seen[i] {
						in, err := tt.store.Get(t.Context(), id)
						require.NoError(t, err)
						require.Equal(t, in.Seq, seq)
					}
				}
				obs.leave()
			}
		})
	}
}

func TestATailTellsAllThatFollowsAPlaceOrNothing(t *testing.T) {
	news := func(generation int64, seqs ...int64) *store.News {
		n := &store.News{Generation: generation}
		for _, seq := range seqs {
			n.Events = append(n.Events, store.Entry{Seq: seq, Type: intent.TypeInProgress, Status: intent.InProgress, JSON: []byte("{}")})
		}
		return n
	}
	long := news(0, 5)
	long.Events[0].JSON = []byte(`"` + strings.Repeat("\x7f", maxTailBytes) + `"`)
	for name, c := range map[string]struct {
		rings []*store.News
		at    place
		want  []int64 // nil if it does not know
	}{
		"nothing was rung for":          {nil, place{0, 0}, nil},
		"the next one":                  {[]*store.News{news(0, 4)}, place{0, 3}, []int64{4}},
		"several":                       {[]*store.News{news(0, 4, 5), news(0, 6)}, place{0, 3}, []int64{4, 5, 6}},
		"a part of them":                {[]*store.News{news(0, 4, 5), news(0, 6)}, place{0, 4}, []int64{5, 6}},
		"none, being there":             {[]*store.News{news(0, 4)}, place{0, 4}, []int64{}},
		"further back":                  {[]*store.News{news(0, 4)}, place{0, 2}, nil},
		"past the end":                  {[]*store.News{news(0, 4)}, place{0, 5}, nil},
		"of another generation":         {[]*store.News{news(1, 4)}, place{0, 3}, nil},
		"after a change of generations": {[]*store.News{news(0, 4), news(1, 5)}, place{1, 4}, nil},
		"without news":                  {[]*store.News{nil}, place{0, 3}, nil},
		"news after a ring without any": {[]*store.News{nil, news(0, 4)}, place{0, 3}, nil},
		"and before":                    {[]*store.News{news(0, 4), nil}, place{0, 3}, nil},
		"a gap":                         {[]*store.News{news(0, 4), news(0, 6)}, place{0, 5}, nil},
		"in disorder":                   {[]*store.News{news(0, 5), news(0, 4)}, place{0, 3}, nil},
		"twice":                         {[]*store.News{news(0, 4), news(0, 4)}, place{0, 3}, nil},
		"more than it keeps":            {[]*store.News{news(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)}, place{0, 0}, nil},
		"the last that it keeps":        {[]*store.News{news(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)}, place{0, 1}, []int64{2, 3, 4, 5, 6, 7, 8, 9}},
		"what is too long":              {[]*store.News{long}, place{0, 4}, nil},
		"behind what is too long":       {[]*store.News{long, news(0, 6)}, place{0, 5}, []int64{6}},
	} {
		t.Run(name, func(t *testing.T) {
			var tl tail
			for _, n := range c.rings {
				tl.add(n)
			}
			facts, ok := tl.after(c.at)
			require.Equal(t, c.want != nil, ok)
			for i, f := range facts {
				require.Equal(t, c.want[i], f.seq)
			}
			require.Len(t, facts, len(c.want))
		})
	}
}

func TestTheLongestFactOfATailFitsIntoAFrame(t *testing.T) {
	f := fact{seq: 5, kind: intent.TypeInProgress, data: []byte(`"` + strings.Repeat("\x7f", maxTailBytes-2) + `"`)}
	frame := appendEnd(nil, f, label{id: strings.Repeat("9", 512)})
	require.LessOrEqual(t, len(frame), MaxFrame)
	_, err := sse.NewReader(strings.NewReader(string(frame))).Next()
	require.NoError(t, err)
}

package observe

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

func together(jobs ...*job) string {
	var ids []string
	for _, j := range jobs {
		ids = append(ids, "id="+j.in.ID.String())
	}
	return "/v1/intents/events/stream?" + strings.Join(ids, "&")
}

// rest takes all frames that have come, as events.
func (o *observer) rest() (events []intent.Event) {
	o.t.Helper()
	for token := o.next(); token != ""; token = o.next() {
		f, err := sse.NewReader(strings.NewReader(token)).Next()
		if err != nil {
			continue // a retry line, a heartbeat
		}
		var e intent.Event
		require.NoError(o.t, json.Unmarshal([]byte(f.Data), &e))
		events, o.last = append(events, e), f
	}
	return events
}

// A follower checks that each intent's events come once and in order.
type follower map[intent.ID]int64

func (f follower) takes(t *testing.T, events []intent.Event) {
	t.Helper()
	for _, e := range events {
		require.Equal(t, f[e.IntentID]+1, e.Seq, "of %s", e.IntentID)
		f[e.IntentID] = e.Seq
	}
}

func TestSeveralIntentsOnOneStreamEndWhenAllHave(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		a, b := tt.begins(), tt.begins()
		seen := follower{}
		obs := tt.observes(together(a, b, a)).opens()
		require.Equal(t, 1, tt.hub.Observers())
		seen.takes(t, obs.rest())
		tt.passes(2 * time.Second)
		a.says("one")
		a.completes(`1`)
		seen.takes(t, obs.rest())
		obs.wantOpen()
		b.says("two")
		seen.takes(t, obs.rest())
		last := obs.last.ID

		// It comes back with what it has, in another order, and the end is one of all.
		obs.leave()
		again := tt.observes(together(b, a), "Last-Event-ID", last).opens()
		require.Empty(t, again.rest())
		b.completes(`2`)
		seen.takes(t, again.rest())
		again.wantEnd()
		require.Equal(t, follower{a.in.ID: 5, b.in.ID: 5}, seen)
		for _, how := range [][]string{{"", "Last-Event-ID", again.last.ID}, {"&since=" + again.last.ID}} {
			w := tt.get(together(a, b)+how[0], how[1:]...)
			require.Equal(t, http.StatusNoContent, w.Code)
		}
	})
}

func TestACursorSaysNothingAboutOtherIntents(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		a, b, c := tt.begins(), tt.begins(), tt.begins()
		obs := tt.observes(together(a, b)).opens()
		require.Len(t, obs.rest(), 6)
		obs.leave()
		for _, garbage := range []string{obs.last.ID, "3", "AAAA", obs.last.ID + "AAAA", "%%%", strings.Repeat("A", 4000)} {
			other := tt.observes(together(a, c), "Last-Event-ID", garbage).opens()
			require.Len(t, other.rest(), 6, "from the start")
			other.leave()
			require.Equal(t, http.StatusBadRequest, tt.get(together(a, c)+"&since="+strings.ReplaceAll(garbage, "%", "%25")).Code)
		}
		zero := tt.observes(together(a, c) + "&since=0").opens()
		require.Len(t, zero.rest(), 6)
		zero.leave()
	})
}

func TestOneForeignIntentAmongSeveralIsRefusedBeforeTheStart(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		mine, hers := tt.begins(ownedBy("alice")), tt.begins(ownedBy("eve"))
		soon := time.Now().Add(time.Hour)
		tt.is("eve")
		require.Equal(t, http.StatusNotFound, tt.get(together(hers, mine)).Code)
		require.Equal(t, http.StatusNotFound, tt.get(together(hers)+"&id=nonsense").Code)
		require.Equal(t, http.StatusNotFound, tt.get(together(hers, mine)+"&token="+keys.Token(mine.in.ID, soon)).Code, "a token for the first")
		require.Equal(t, http.StatusBadRequest, tt.get("/v1/intents/events/stream").Code)
		require.Equal(t, http.StatusBadRequest, tt.get(together(hers)+strings.Repeat("&id=x", maxTogether)).Code)
		tt.is("")
		tokens := "&token=" + keys.Token(mine.in.ID, soon) + "&token=" + keys.Token(hers.in.ID, soon)
		obs := tt.observes(together(mine, hers) + tokens).opens()
		require.Len(t, obs.rest(), 6)
		obs.leave()
		require.Equal(t, http.StatusUnauthorized, tt.get(together(hers, mine)+tokens).Code)
	})
}

func TestACursorOfAHundredIntentsIsShort(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var ids []intent.ID
	for range maxTogether {
		ids = append(ids, intent.NewID(time.Now(), 0))
	}
	ro := newRoster(ids)
	for _, top := range []int64{1, intent.MaxEvents, maxPosition} {
		tracks := make([]track, maxTogether)
		var want []int64
		for i := range tracks {
			tracks[i].cursor = top - chance.Int64N(min(top, 3))
			want = append(want, tracks[i].cursor)
		}
		text := ro.cursor(tracks)
		require.Less(t, len(text), 512)
		require.Equal(t, want, ro.read(text))
	}
	tracks := make([]track, maxTogether)
	tracks[7].cursor = maxPosition + 1
	require.Zero(t, ro.read(ro.cursor(tracks))[7], "an id too long is read as the start")
}

func FuzzRosterRead(f *testing.F) {
	ro := newRoster(make([]intent.ID, 3))
	f.Add(ro.cursor(make([]track, 3)))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		positions := ro.read(text)
		if positions == nil {
			return
		}
		require.Len(t, positions, 3)
		for _, p := range positions {
			require.True(t, 0 <= p && p <= maxPosition)
		}
	})
}

func TestNamesCanBeLeftOut(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		j := tt.runsThrough()
		for _, target := range []string{j.stream() + "?names=off", together(j) + "&names=off", j.stream() + "?names=off&since=999"} {
			obs := tt.observes(target).opens()
			events := 0
			for token := obs.next(); token != ""; token = obs.next() {
				require.NotContains(t, token, "event:")
				events += strings.Count(token, "data:")
			}
			require.NotZero(t, events)
			obs.wantEnd()
		}
		require.Equal(t, http.StatusBadRequest, tt.get(j.stream()+"?names=maybe").Code)
	})
}

// Clients that are cut at random and come back with what they have see every event
// once, while the server is replaced under them.
func TestRandomCutsLoseAndRepeatNothing(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		chance := rand.New(rand.NewPCG(3, 4))
		var jobs []*job
		for range 12 {
			jobs = append(jobs, tt.begins())
		}
		seen, last := follower{}, ""
		for round := range 200 {
			tt.passes(2 * time.Second)
			for range 1 + chance.IntN(20) {
				j := jobs[chance.IntN(len(jobs))]
				if next, events := j.in.Apply(intent.Reading{Status: intent.InProgress, Message: fmt.Sprint(chance.Int())}, time.Now()); len(events) > 0 {
					j.stores(next, events)
				}
			}
			if round%7 == 0 {
				tt.configure(Config{})
			}
			obs := tt.observes(together(jobs...), "Last-Event-ID", last).opens()
			seen.takes(t, obs.rest())
			obs.leave()
			if obs.last.ID != "" {
				last = obs.last.ID
			}
		}
		tt.passes(time.Hour)
		for _, j := range jobs {
			j.reads(intent.Reading{Status: intent.Completed})
		}
		obs := tt.observes(together(jobs...), "Last-Event-ID", last).opens()
		seen.takes(t, obs.rest())
		obs.wantEnd()
		for _, j := range jobs {
			require.Equal(t, j.in.Seq, seen[j.in.ID])
		}
	})
}

func TestOnlyTheLastEndOfSeveralTellsAClientToStayAway(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		a, b := tt.runsThrough(), tt.begins()
		obs := tt.observes(together(a, b)).opens()
		obs.wantOpen()
		obs.conn.take(func(got []byte) int {
			require.Contains(t, string(got), string(intent.TypeCompleted))
			require.NotContains(t, string(got), "retry: 86400000", "the other one goes on")
			return len(got)
		})
		tt.passes(time.Second)
		b.completes(`1`)
		tt.passes(0)
		obs.conn.take(func(got []byte) int {
			require.Contains(t, string(got), "retry: 86400000")
			return len(got)
		})
		obs.wantEnd()
	})
}

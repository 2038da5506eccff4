package offload_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

// pollsOf counts the requests of ours for a job's status.
func (tt *tester) pollsOf(job string) (n int) {
	for _, a := range tt.backend.AskedFor("GET", "/reports/status/"+job) {
		if a.Header.Get("User-Agent") == "caddy-intents" {
			n++
		}
	}
	return n
}

func TestOnePollAnswersTheClientsOfAllReplicas(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b, c := tt.beside(), tt.beside()
		maker := tt.client("Cookie", "maker")
		_, job := maker.submit()
		var clients []*client
		for i := range 30 {
			clients = append(clients, tt.client("Cookie", strconv.Itoa(i)).at([]*tester{tt, b, c}[i%3]))
		}
		admitted := 0
		ask := func() {
			for _, one := range clients {
				require.Equal(t, http.StatusOK, one.get(job).Code)
			}
		}
		for range 3 { // the backend is asked about each, and what it says to each is compared with a poll
			ask()
			tt.passes(time.Second)
		}
		admitted = tt.backendAsked(job) - tt.pollsOf(job)
		for i := range 40 {
			tt.backend.Says(job, "running", i)
			ask()
			tt.passes(time.Second)
		}
		require.Equal(t, admitted, tt.backendAsked(job)-tt.pollsOf(job), "no client has cost the backend a request")
		require.InDelta(t, 43/2, tt.pollsOf(job), 3, "one poll every 2 seconds")
	}, shared)
}

func TestAnAnswerOfAnotherReplicasPollIsTheBackends(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b := tt.beside()
		tt.backend.adds(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Rows", "7")
			w.Header().Set("Set-Cookie", "of=the-poll")
			w.Header().Set("Etag", `"e"`)
		})
		_, job := tt.client("Cookie", "maker").submit()
		client := tt.client("Cookie", "other").at(b)
		for i := range 3 {
			tt.backend.Says(job, "running", i)
			client.get(job)
			tt.passes(2 * time.Second)
		}
		tt.backend.Says(job, "running", 77)
		tt.passes(1500 * time.Millisecond) // a poll, and more
		tt.backend.Says(job, "running", 99)
		before := tt.backendAsked(job)
		w := client.get(job)
		require.JSONEq(t, `{"job_id":"job-1","status":"running","percent":77}`, w.Body.String())
		require.Equal(t, "7", w.Header().Get("X-Rows"))
		require.Empty(t, w.Header().Get("Set-Cookie"))
		age, err := strconv.Atoi(w.Header().Get("Age"))
		require.NoError(t, err)
		require.Less(t, age, 2)
		require.Equal(t, http.StatusNotModified, client.get(job, "If-None-Match", `"e"`).Code)
		require.Equal(t, before, tt.backendAsked(job))
		tt.passes(2 * time.Second)
		require.Contains(t, client.get(job).Body.String(), "99", "fresh as with one process")
	}, shared)
}

func TestNoReplicaTellsOneUserOfAnother(t *testing.T) {
	both(t, func(tt *tester, alice, bob *client) {
		b, c := tt.beside(), tt.beside()
		tt.backend.atTheDoor(ofEachUser)
		id, job := alice.submit()
		for range 5 {
			for _, at := range []*tester{b, c, tt} {
				require.Contains(t, alice.at(at).get(job).Body.String(), "secret of alice")
				require.Contains(t, bob.at(at).get(job).Body.String(), "secret of bob")
			}
			tt.passes(700 * time.Millisecond)
		}
		for _, at := range []*tester{b, c, tt} {
			hers := alice.at(at).listens(job).wantStream()
			require.Equal(t, id.String(), hers.last()["intent"].(map[string]any)["id"])
			his := bob.at(at).listens(job)
			tt.passes(4 * time.Second)
			require.NotContains(t, his.w.text(), "secret of alice")
			require.NotContains(t, his.w.text(), id.String(), "an id grants reading")
			hers.leave()
			his.leave()
		}
	}, shared, copiesAll)
}

func TestTheSubmittersPollsCostNothingAtAnyReplica(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b := tt.beside()
		alice := tt.client("Cookie", "session=alice")
		_, job := alice.submit()
		for range 2 {
			alice.at(b).get(job)
			tt.passes(3 * time.Second)
		}
		before := tt.backendAsked(job)
		for range 20 {
			require.Equal(t, http.StatusOK, alice.at(b).get(job).Code)
		}
		require.Equal(t, before, tt.backendAsked(job), "the poll carries her headers")
	}, shared, copiesAll)
}

func TestAStreamAtAnotherReplicaHasTheWordsOfThePolls(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b := tt.beside()
		_, job := tt.client("Cookie", "maker").submit()
		for _, who := range []string{"maker", "other"} {
			tt.backend.Says(job, "running", 1)
			l := tt.client("Cookie", who).at(b).begins(job)
			tt.passes(4 * time.Second)
			l.wantStream()
			before := tt.backendAsked(job) - tt.pollsOf(job)
			for percent := 10; percent <= 50; percent += 10 {
				tt.backend.Says(job, "running", percent)
				tt.passes(3 * time.Second)
				require.EqualValues(t, percent, l.last()["percent"], who)
			}
			require.Equal(t, before, tt.backendAsked(job)-tt.pollsOf(job))
			l.leave()
		}
		l := tt.client("Cookie", "other").at(b).begins(job)
		tt.passes(4 * time.Second)
		tt.backend.Finishes(job)
		tt.passes(3 * time.Second)
		require.Equal(t, "done", l.last()["status"])
		require.True(t, l.over(), "it ends in words that are an end, without a cut")
	}, shared)
}

func TestAfterTheEndEveryReplicaRepeatsTheLastWords(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b := tt.beside()
		_, job := tt.client("Cookie", "maker").submit()
		client := tt.client("Cookie", "other").at(b)
		for range 3 {
			client.get(job)
			tt.passes(2 * time.Second)
		}
		tt.backend.Finishes(job)
		tt.passes(3 * time.Second)
		before := tt.backendAsked(job)
		require.Contains(t, client.get(job).Body.String(), "done")
		require.Equal(t, before, tt.backendAsked(job))
		tt.passes(61 * time.Second)
		client.get(job)
		require.Equal(t, before+1, tt.backendAsked(job), "the backend may have another job by this id")
	}, shared)
}

func TestACancelAtOneReplicaVoidsWhatAllHaveRead(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b, c := tt.beside(), tt.beside()
		maker := tt.client("Cookie", "maker")
		_, job := maker.submit()
		for range 3 {
			for _, at := range []*tester{tt, b, c} {
				maker.at(at).get(job)
			}
			tt.passes(2 * time.Second)
		}
		tt.backend.Says(job, "running", 50)
		maker.at(b).do("DELETE", "/reports/status/"+job)
		for _, at := range []*tester{tt, b, c} {
			before := tt.backendAsked(job)
			require.Contains(t, maker.at(at).get(job).Body.String(), "cancelled")
			require.Equal(t, before+1, tt.backendAsked(job))
		}
	}, shared)
}

func TestASlowPollIsWaitedForByNobody(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b := tt.beside()
		_, job := tt.client("Cookie", "maker").submit()
		client := tt.client("Cookie", "other").at(b)
		for range 3 {
			client.get(job)
			tt.passes(2 * time.Second)
		}
		tt.backend.Meets(legacytest.Polls, legacytest.Late(1500*time.Millisecond), legacytest.Always)
		tt.passes(5 * time.Second) // one was slow, and the next one begins
		before := tt.backendAsked(job) - tt.pollsOf(job)
		for range 20 {
			require.Equal(t, http.StatusOK, client.get(job).Code)
			tt.passes(400 * time.Millisecond)
		}
		require.Equal(t, before, tt.backendAsked(job)-tt.pollsOf(job), "what was read is good while the next is under way")
	}, shared)
}

// TestWhenThePollerDiesItsClientsAskThemselves until another replica polls.
func TestWhenThePollerDiesItsClientsAskThemselves(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b, c := tt.beside(), tt.beside()
		_, job := tt.client("Cookie", "maker").at(c).submit()
		client := tt.client("Cookie", "other").at(b)
		for range 3 {
			client.get(job)
			tt.passes(2 * time.Second)
		}
		c.dies()
		for i := range 40 { // beyond the lease
			tt.backend.Says(job, "running", i)
			w := client.get(job)
			require.Equal(t, http.StatusOK, w.Code)
			tt.passes(time.Second)
		}
		before := tt.backendAsked(job) - tt.pollsOf(job)
		for i := range 10 {
			tt.backend.Says(job, "running", 50+i)
			client.get(job)
			tt.passes(time.Second)
		}
		require.LessOrEqual(t, tt.backendAsked(job)-tt.pollsOf(job), before+1, "one admission at most")
	}, shared)
}

func TestNoClientIsToldOfAnEarlierStateWhoeverPolls(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b, c := tt.beside(), tt.beside()
		id, job := tt.client("Cookie", "maker").submit()
		client, last := tt.client("Cookie", "other").at(b), -1.0
		for i := range 300 {
			tt.backend.Says(job, "running", i)
			var got struct{ Percent float64 }
			require.NoError(t, json.Unmarshal(client.get(job).Body.Bytes(), &got))
			require.GreaterOrEqual(t, got.Percent, last)
			last = got.Percent
			switch i {
			case 100:
				require.NoError(t, c.engine.PollNow(tt.t.Context(), id)) // which takes it over
			case 200:
				require.NoError(t, b.engine.PollNow(tt.t.Context(), id)) // its own polls from here on
			case 250:
				require.NoError(t, c.engine.PollNow(tt.t.Context(), id))
			}
			tt.passes(130 * time.Millisecond)
		}
	}, shared)
}

func TestWhatAnotherReplicaPollsIsToldOnlyWhileItIsWanted(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b := tt.beside()
		told := 0
		stop := tt.store.Listen(func(s store.Signal) {
			if s.Kind == store.Told {
				told++
			}
		})
		defer stop()
		_, job := tt.client("Cookie", "maker").submit()
		tt.passes(time.Minute)
		require.Zero(t, told, "nobody wants to know")
		tt.client("Cookie", "other").at(b).get(job)
		tt.passes(2 * time.Minute)
		until := told
		require.NotZero(t, until)
		tt.passes(time.Minute)
		require.Equal(t, until, told)
	}, shared)
}

func TestWhoAdoptsAJobThatAnotherReplicaIsStoringWaitsForIt(t *testing.T) {
	inBubble(t, func(tt *tester) {
		b := tt.beside(func(b *tester) { b.indexed = time.Now().Add(300 * time.Millisecond) })
		tt.backend.Says("77", "running", 10)
		first := tt.client("Cookie", "first").listens("77").wantStream()
		second := tt.client("Cookie", "second").at(b).begins("77")
		tt.passes(4 * time.Second)
		second.wantStream()
		require.Equal(t, first.last()["intent"].(map[string]any)["id"], second.last()["intent"].(map[string]any)["id"])
		first.leave()
		second.leave()
	}, shared)
}

package offload_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
)

func TestAStreamTellsTheBackendsOwnObject(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		id, job := c.submit()
		tt.backend.Says(job, "running", 10)
		l := c.listens(job).wantStream()
		require.Equal(t, map[string]any{
			"job_id": job, "status": "running", "percent": 10.0, "#id": "5",
			"intent": map[string]any{"id": id.String(), "seq": 5.0, "status": "IN_PROGRESS", "event_type": "intent.in_progress"},
		}, l.last())
		tt.backend.Says(job, "running", 60)
		tt.passes(3 * time.Second)
		require.Equal(t, 60.0, l.last()["percent"])
		require.Len(t, l.frames(), 2, "one frame for what one poll says")
		tt.backend.Finishes(job)
		tt.passes(3 * time.Second)
		last := l.last()
		require.Equal(t, "done", last["status"])
		require.Equal(t, "COMPLETED", last["intent"].(map[string]any)["status"])
		require.Contains(t, l.w.text(), "retry: 86400000\n")
		require.NotContains(t, l.w.text(), "event:")
		l.wantEnd()

		again := c.listens(job, "Last-Event-ID", last["#id"].(string))
		again.wantEnd()
		require.Equal(t, http.StatusNoContent, again.w.code)
		late := c.listens(job, "Last-Event-ID", "4").wantStream()
		late.wantEnd()
		require.Equal(t, "done", late.last()["status"])
	})
}

func TestAReaderThatIsBehindIsToldTheLatestAndNoneOfWhatWasBefore(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.runs(10)
		l := c.listens(job).wantStream()
		goOn := l.w.stops()
		for _, percent := range []int{20, 30, 40, 50} {
			tt.backend.Says(job, "running", percent)
			tt.passes(2 * time.Second)
		}
		require.Len(t, l.frames(), 1)
		goOn()
		var told []any
		for _, f := range l.frames() {
			told = append(told, f["percent"])
		}
		require.Equal(t, []any{10.0, 20.0, 50.0}, told, "20 was on its way when the reader stopped")
		l.leave()
	})
}

func TestAStreamTellsWhatNoEventDoes(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		tt.backend.Meets(legacytest.Polls, legacytest.Body("application/json", `{"status":"running","rows":1}`), legacytest.Always)
		l := c.listens(job).wantStream()
		tt.backend.Meets(legacytest.Polls, legacytest.Body("application/json", `{"status":"running","rows":2}`), legacytest.Always)
		tt.passes(3 * time.Second)
		require.Equal(t, 2.0, l.last()["rows"])
		require.Len(t, l.frames(), 2)
		tt.passes(10 * time.Second)
		require.Len(t, l.frames(), 2, "nothing new, nothing sent")
		l.leave()
	})
}

func TestStreamsCostNoMoreThanPolls(t *testing.T) {
	inBubble(t, func(tt *tester) {
		job := tt.client().runs(10)
		var all []*listener
		for range 50 {
			all = append(all, tt.client().listens(job).wantStream())
		}
		before := tt.backendAsked(job)
		require.LessOrEqual(t, before, 2, "one admission")
		tt.passes(20 * time.Second)
		require.InDelta(t, before+10, tt.backendAsked(job), 1)
		for _, l := range all {
			l.leave()
		}
	})
}

func TestAStatusThatIsNoObjectIsTheAnswer(t *testing.T) {
	for _, body := range []string{`["running"]`, `"running"`, `<status>running</status>`} {
		inBubble(t, func(tt *tester) {
			c := tt.client()
			_, job := c.submit()
			tt.backend.Meets(legacytest.Polls, legacytest.Body("application/json", body), legacytest.Always)
			for range 2 {
				l := c.listens(job)
				l.wantEnd()
				require.Equal(t, body, l.w.text())
			}
		})
	}
}

func TestABackendThatStreamsItselfIsLeftToIt(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		tt.backend.atTheDoor(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream") {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = w.Write([]byte("data: its own\n\n"))
			}
		})
		l := c.listens(job)
		l.wantEnd()
		require.Equal(t, "data: its own\n\n", l.w.text())
	})
}

func TestWhatABackendSaysMakesNoFrames(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		hostile := "a\r\n\r\ndata: {}\n\nevent: x\u2028b\u2029\u0085c"
		tt.backend.SaysAll(job, legacytest.Status{State: "running", Step: hostile})
		l := c.listens(job).wantStream()
		require.Len(t, l.frames(), 1)
		require.Equal(t, hostile, l.last()["step"])
		l.leave()
	})
}

func TestAKeyOfTheBackendsIsNotReplaced(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		tt.backend.Meets(legacytest.Polls, legacytest.Body("application/json", ` { "status" : "running" , "intent" : "buy" } `), legacytest.Always)
		l := c.listens(job).wantStream()
		require.Equal(t, "buy", l.last()["intent"])
		require.Contains(t, l.w.text(), `data: {"status":"running","intent":"buy"}`+"\n")
		l.leave()
	})
}

func TestAJobThatWasSubmittedElsewhereIsAdoptedOnce(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.Says("77", "running", 10)
		key := store.JobKey{Scope: "default", StatusURL: "/reports/status/77"}
		require.Equal(t, http.StatusOK, tt.client().get("77").Code)
		_, err := tt.store.ByJob(t.Context(), key)
		require.ErrorIs(t, err, store.ErrNotFound, "a poll alone stores nothing")

		listeners := make([]*listener, 10)
		for i := range listeners {
			listeners[i] = tt.client("X-User", fmt.Sprint(i)).begins("77")
		}
		tt.passes(4 * time.Second)
		id, err := tt.store.ByJob(t.Context(), key)
		require.NoError(t, err)
		tt.backend.Finishes("77")
		tt.passes(4 * time.Second)
		for _, l := range listeners {
			l.wantStream().wantEnd()
			require.Equal(t, "done", l.last()["status"])
			require.Equal(t, id.String(), l.last()["intent"].(map[string]any)["id"])
		}
		page, err := tt.store.List(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Len(t, page.Intents, 1)
		require.Equal(t, "api.example.com", page.Intents[0].Host)
	})
}

// They share an admission, which nobody may change under the others.
func TestTabsOfOneBrowserAdoptAJobTogether(t *testing.T) {
	for range 20 { // in as many orders as it takes for two to meet
		inBubble(t, func(tt *tester) {
			tt.backend.Says("77", "running", 10)
			c := tt.client()
			require.Equal(t, http.StatusOK, c.get("77").Code)
			var tabs []*listener
			for range 8 {
				tabs = append(tabs, c.begins("77"))
			}
			tt.passes(4 * time.Second)
			about := tabs[0].wantStream().last()["intent"].(map[string]any)
			for _, tab := range tabs {
				require.Equal(t, about["id"], tab.wantStream().last()["intent"].(map[string]any)["id"])
				tab.leave()
			}
		})
	}
}

func TestNothingIsAdoptedWhereTheConfigSaysSo(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.Says("77", "running", 10)
		l := tt.client().listens("77")
		l.wantEnd()
		require.Contains(t, l.w.text(), `"percent":10`)
		page, err := tt.store.List(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Empty(t, page.Intents)
	}, func(tt *tester) { tt.rule.NoAdopt = true })
}

func TestAClientAdoptsOnlySoManyJobs(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		codes := map[int]int{}
		var all []*listener
		for i := range 70 {
			job := fmt.Sprint(i)
			tt.backend.Says(job, "running", 1)
			l := c.listens(job)
			codes[l.w.code]++
			all = append(all, l)
		}
		require.Equal(t, map[int]int{200: 60, 429: 10}, codes)
		for _, l := range all {
			l.leave()
		}
		synctest.Wait()
	})
}

// An EventSource gives up for good on anything but a stream.
func TestAnEventSourceThatIsOneTooManyIsToldToComeBack(t *testing.T) {
	asks := map[string]func(tt *tester, c *client) string{
		"of a job too many": func(tt *tester, c *client) string {
			for i := range 60 {
				tt.backend.Says(fmt.Sprint(i), "running", 1)
				defer c.listens(fmt.Sprint(i)).leave()
			}
			tt.backend.Says("61", "running", 1)
			return "61"
		},
		"of a stream too many": func(tt *tester, c *client) string {
			_, job := c.submit()
			c.listens(job).wantStream()
			return job
		},
	}
	for name, ask := range asks {
		inBubble(t, func(tt *tester) {
			tt.backend.adds(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Access-Control-Allow-Origin", "https://app.example.com")
			})
			c := tt.client()
			job := ask(tt, c)
			l := c.listens(job, "Cache-Control", "no-cache").wantStream()
			require.Equal(t, http.StatusOK, l.w.code, name)
			require.Regexp(t, `^retry: \d+\n+$`, l.w.text(), name)
			require.True(t, l.cut(), "and nobody takes it for the end")
			require.NotEmpty(t, l.w.header.Get("Access-Control-Allow-Origin"), name)
			require.Equal(t, http.StatusTooManyRequests, c.listens(job).w.code, "any other client is told so")
			require.Equal(t, http.StatusTooManyRequests, c.listens(job, "Accept", "text/event-stream, */*;q=0.1", "Cache-Control", "no-cache").w.code)
			tt.hub.Drain(observe.ErrDraining)
		}, func(tt *tester) {
			if name == "of a stream too many" {
				tt.limits = observe.Limits{All: 100, PerOwner: 100, PerIntent: 1}
			}
		})
	}
}

func TestAnIDThatIsUsedAgainIsANewJob(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		first, job := c.submit()
		tt.backend.Finishes(job)
		require.Contains(t, c.get(job).Body.String(), "done")
		tt.passes(2 * time.Minute)
		tt.backend.Says(job, "running", 5)
		require.Contains(t, c.get(job).Body.String(), "running")
		l := c.listens(job).wantStream()
		require.Equal(t, "running", l.last()["status"])
		require.NotEqual(t, first.String(), l.last()["intent"].(map[string]any)["id"])
		tt.backend.Finishes(job)
		tt.passes(4 * time.Second)
		l.wantEnd()
		require.Equal(t, "done", l.last()["status"])
	})
}

func TestOnlyItsOwnerIsToldOfTheIntent(t *testing.T) {
	inBubble(t, func(tt *tester) {
		alice, bob := tt.client("Cookie", "alice"), tt.client("Cookie", "bob")
		alice.who.Owners = []string{"mac-of-alice", "older-mac"}
		bob.who.Owners = []string{"mac-of-bob"}
		job := alice.runs(10)
		require.NotNil(t, alice.listens(job).wantStream().last()["intent"])
		l := bob.listens(job)
		tt.passes(3 * time.Second)
		require.Equal(t, "running", l.wantStream().last()["status"])
		require.NotContains(t, l.w.text(), "intent")
	})
}

func TestWhoIsNobodyAdoptsNothing(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.Says("77", "running", 10)
		c := tt.client()
		c.who.Owners = []string{}
		l := c.listens("77")
		l.wantEnd()
		require.Contains(t, l.w.text(), `"percent":10`)
	})
}

func TestWhoseStreamNoPollCanProveIsNotKeptWaiting(t *testing.T) {
	inBubble(t, func(tt *tester) {
		alice, bob := tt.client("Cookie", "alice"), tt.client("Cookie", "bob")
		_, job := alice.submit()
		tt.backend.Meets(legacytest.Polls, legacytest.Code(429, "60"), 1)
		tt.passes(3 * time.Second)
		l := bob.listens(job)
		l.wantEnd()
		require.Contains(t, l.w.text(), `"status"`)
	}, func(tt *tester) { tt.job.CopyHeaders = []string{"Cookie"} })
}

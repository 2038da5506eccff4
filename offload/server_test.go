package offload_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

func TestPollingClientsCostWhatOneCosts(t *testing.T) {
	cost := func(clients int) (requests int) {
		inBubble(t, func(tt *tester) {
			job := tt.client().runs(1)
			for i := range clients {
				go func() {
					<-time.After(time.Duration(i) * 2 * time.Second / time.Duration(clients)) // virtual
					for range 25 {
						require.Equal(t, http.StatusOK, tt.client().get(job).Code)
						<-time.After(2 * time.Second)
					}
				}()
			}
			tt.passes(55 * time.Second)
			requests = tt.backendAsked(job)
		})
		return requests
	}
	one := cost(1)
	require.InDelta(t, 27, one, 2, "one request each 2 s")
	require.InDelta(t, one, cost(10), 1)
	require.InDelta(t, one, cost(100), 1)
}

func TestClientsThatComeAtOnceAskTheBackendOnce(t *testing.T) {
	inBubble(t, func(tt *tester) {
		job := tt.client().runs(1)
		tt.backend.adds(func(http.ResponseWriter, *http.Request) { <-time.After(100 * time.Millisecond) }) // virtual
		tt.costs(job, 1, func() {
			for range 50 {
				go func() {
					if code := tt.client().get(job).Code; code != http.StatusOK {
						t.Errorf("answered %d", code)
					}
				}()
			}
			tt.passes(300 * time.Millisecond)
		})
	})
}

func TestOnesOwnAnswerIsNotWaitedForByOthersForEver(t *testing.T) {
	inBubble(t, func(tt *tester) {
		job := tt.client().runs(1)
		tt.backend.adds(func(http.ResponseWriter, *http.Request) { <-time.After(20 * time.Second) }) // virtual
		go tt.client().get(job)
		tt.passes(100 * time.Millisecond)
		tt.backend.adds(nil)
		begun := time.Now()
		require.Equal(t, http.StatusOK, tt.client().get(job).Code)
		require.LessOrEqual(t, time.Since(begun), time.Second)
		tt.passes(20 * time.Second)
	})
}

func TestHeadersOfHandlersBeforeUsAreNotKept(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		for _, id := range []string{"1", "2"} {
			w := httptest.NewRecorder()
			w.Header().Set("X-Request-Id", id)
			require.NoError(t, tt.server.Serve(w, c.request("GET", "/reports/status/"+job), c.asker(), tt.backend.Send))
			require.Equal(t, id, w.Header().Get("X-Request-Id"))
		}
		require.Equal(t, 1, tt.backendAsked(job))
	})
}

func TestEachClientIsAdmittedByTheBackendOnce(t *testing.T) {
	inBubble(t, func(tt *tester) {
		job := tt.client().runs(1)
		for i := range 20 {
			c := tt.client("Authorization", fmt.Sprint("Bearer ", i))
			tt.costs(job, 1, func() {
				for range 5 {
					require.Equal(t, http.StatusOK, c.get(job).Code)
				}
			})
		}
	})
}

func TestAnAnswerFromTheLastReadingIsTheBackends(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.adds(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("X-Queue", "fast")
			w.Header().Set("Set-Cookie", "session=somebody")
			w.Header().Set("Connection", "X-Hop")
			w.Header().Set("X-Hop", "1")
		})
		c := tt.client()
		job := c.runs(40)
		first := c.get(job)
		require.Equal(t, "session=somebody", first.Header().Get("Set-Cookie"), "as it is")
		require.Empty(t, first.Header().Get("Age"))
		asked := tt.backendAsked(job)
		tt.passes(1200 * time.Millisecond)
		again := c.get(job)
		require.Equal(t, first.Body.String(), again.Body.String())
		require.Equal(t, "1", again.Header().Get("Age"))
		require.Equal(t, "fast", again.Header().Get("X-Queue"))
		require.Equal(t, "application/json", again.Header().Get("Content-Type"))
		require.Empty(t, again.Header()["Set-Cookie"])
		require.Empty(t, again.Header()["X-Hop"])

		head := c.do("HEAD", "/reports/status/"+job)
		require.Equal(t, http.StatusOK, head.Code)
		require.Empty(t, head.Body.String())
		require.Equal(t, fmt.Sprint(first.Body.Len()), head.Header().Get("Content-Length"))
		same := c.get(job, "If-None-Match", `"x", W/"v1"`)
		require.Equal(t, http.StatusNotModified, same.Code)
		require.Empty(t, same.Body.String())
		require.Equal(t, `"v1"`, same.Header().Get("ETag"))
		require.Equal(t, http.StatusOK, c.get(job, "If-None-Match", `"v0"`).Code)
		require.Equal(t, asked, tt.backendAsked(job))
	})
}

func TestUnusualRequestsPassThrough(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(40)
		for name, ask := range map[string]func(){
			"another query":      func() { c.do("GET", "/reports/status/"+job+"?verbose=1") },
			"a part":             func() { c.get(job, "Range", "bytes=0-1") },
			"another type":       func() { c.get(job, "Accept", "text/html") },
			"a condition":        func() { c.get(job, "If-Match", `"v1"`) },
			"a hidden header":    func() { c.get(job, "Connection", "Authorization") },
			"another connection": func() { c.get(job, "Connection", "Upgrade", "Upgrade", "websocket") },
		} {
			before := len(tt.backend.Asked())
			ask()
			require.Equal(t, before+1, len(tt.backend.Asked()), name)
		}
		before := len(tt.backend.Asked())
		c.get(job, "Accept", "application/json, text/plain, */*", "Cache-Control", "no-cache", "Traceparent", "00-1")
		require.Len(t, tt.backend.Asked(), before)
	})
}

func TestOtherMethodsVoidWhatWasRead(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(40)
		require.Equal(t, http.StatusOK, c.do("DELETE", "/reports/status/"+job).Code)
		require.Contains(t, c.get(job).Body.String(), "cancelled")
	})
}

// A DELETE is under way. The backend may have done what it asks, or not yet.
func TestWhileAnotherMethodIsUnderWayNothingThatWasReadCounts(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(40)
		arrived, acts := make(chan struct{}), make(chan struct{})
		tt.backend.adds(func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				close(arrived)
				<-acts
			}
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.do(http.MethodDelete, "/reports/status/"+job)
		}()
		<-arrived
		tt.costs(job, 1, func() {
			tt.passes(100 * time.Millisecond)
			require.Contains(t, c.get(job).Body.String(), "running")
		}, "what was read before it is worthless")
		tt.passes(100 * time.Millisecond)
		close(acts)
		<-done
		require.Contains(t, c.get(job).Body.String(), "cancelled", "and so is what was read meanwhile")
	})
}

func TestAnAnswerThatIsNoStatusTakesTheAdmissionBack(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a refusal":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"a login":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) },
		"unreadable": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<p>Log in")) },
	} {
		inBubble(t, func(tt *tester) {
			c := tt.client()
			job := c.polls(40)
			tt.backend.atTheDoor(answer)
			c.get(job, "Accept", "text/html") // which is not kept
			tt.backend.atTheDoor(nil)
			tt.costs(job, 1, func() { c.get(job) }, name)
		})
	}
}

func TestSafeMethodsVoidNothing(t *testing.T) {
	for _, method := range []string{http.MethodOptions, http.MethodTrace} {
		inBubble(t, func(tt *tester) {
			c := tt.client()
			job := c.polls(40)
			stranger := tt.client("X-User", "nobody", "Origin", "https://app.example.com", "Access-Control-Request-Method", "GET")
			stranger.do(method, "/reports/status/"+job)
			tt.costs(job, 0, func() { c.get(job) }, method)
		})
	}
}

func TestAClientThatLeavesTakesNobodysAdmissionBack(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(40)
		tt.costs(job, 0, func() {
			r := c.request(http.MethodGet, "/reports/status/"+job, "Accept", "text/html")
			ctx, leave := context.WithCancel(r.Context())
			r = r.WithContext(ctx)
			left := func(w http.ResponseWriter, _ *http.Request) error { // as reverse_proxy does
				leave()
				w.WriteHeader(499)
				return nil
			}
			require.NoError(t, tt.server.Serve(httptest.NewRecorder(), r, c.asker(), left))
			c.get(job)
		})
	})
}

func TestTheLastReadingSpeaksForAMinuteAfterTheEnd(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		tt.backend.Finishes(job)
		require.Contains(t, c.get(job).Body.String(), "done")
		tt.backend.Says(job, "running", 1) // the backend has begun to use the id again
		tt.passes(50 * time.Second)
		require.Contains(t, c.get(job).Body.String(), "done")
		tt.passes(15 * time.Second)
		require.Contains(t, c.get(job).Body.String(), "running")
		require.Contains(t, c.get(job).Body.String(), "running")
	})
}

func TestAnEndOfOurOwnMakingIsNotTheBackendsWord(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.runs(1)
		for range 4 {
			c.get(job)
			tt.passes(time.Second)
		}
		tt.passes(4 * time.Second) // its deadline
		tt.costs(job, 2, func() {
			c.get(job)
			c.get(job)
		})
	}, func(tt *tester) { tt.job.Deadline = 7 * time.Second })
}

func TestABackendInTroubleIsAskedByEachItself(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(1)
		tt.backend.Meets(legacytest.Polls, legacytest.Code(503, "60"), legacytest.Always)
		tt.passes(5 * time.Second)
		require.Equal(t, 503, c.get(job).Code)
	})
}

func TestAnOldReadingIsServedWhereTheConfigSaysSo(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(1)
		tt.backend.Meets(legacytest.Polls, legacytest.Code(503, "60"), legacytest.Always)
		tt.passes(5 * time.Second)
		old := c.get(job)
		require.Equal(t, 200, old.Code)
		require.Equal(t, "5", old.Header().Get("Age"))
		tt.passes(20 * time.Second)
		require.Equal(t, 503, c.get(job).Code)
	}, func(tt *tester) { tt.rule.Stale = 20 * time.Second })
}

func TestOffMeansThatEveryPollGoesToTheBackend(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.runs(1)
		for i := range 4 {
			c.get(job)
			require.Equal(t, i+1, tt.backendAsked(job))
		}
	}, func(tt *tester) { tt.rule.Off = true })
}

func TestAnswersThatAreTooLargePassThrough(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		large := `{"status":"running","rows":"` + strings.Repeat("x", 64<<10) + `"}`
		tt.backend.Meets(legacytest.Polls, legacytest.Body("application/json", large), legacytest.Always)
		for i := range 3 {
			require.Equal(t, large, c.get(job).Body.String())
			require.Equal(t, i+1, tt.backendAsked(job))
		}
	})
}

func TestAClientsAnswerCountsAsAPoll(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		id, job := c.submit()
		tt.backend.Finishes(job)
		c.get(job)
		in, err := tt.store.Get(t.Context(), id)
		require.NoError(t, err)
		require.EqualValues(t, "COMPLETED", in.Status)
		require.Equal(t, 1, tt.backendAsked(job), "the client's own request was the poll")
	})
}

func TestAnotherHostIsAnotherTenant(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.polls(1)
		other := tt.client()
		other.host = "tenant.example.com"
		tt.costs(job, 2, func() {
			other.get(job)
			other.get(job)
		})
	})
}

func TestWithOffloadOffRequestsReachTheBackendAsTheyAre(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		_, job := c.submit()
		c.get(job, "Accept-Encoding", "br, zstd, gzip")
		asked := tt.backend.AskedFor("GET", "/reports/status/"+job)
		require.Equal(t, "br, zstd, gzip", asked[0].Header.Get("Accept-Encoding"))
	}, func(tt *tester) { tt.rule.Off = true })
}

func TestAHeadTooLargeToBeKeptAdmitsNobody(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.runs(1)
		tt.backend.adds(func(w http.ResponseWriter, _ *http.Request) {
			for i := range engine.MaxKept / 100 {
				w.Header().Set(fmt.Sprintf("X%d", i), "")
			}
		})
		tt.costs(job, 5, func() {
			for range 5 {
				require.Equal(t, http.StatusOK, c.get(job).Code)
			}
		})
	})
}

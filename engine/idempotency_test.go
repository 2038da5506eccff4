package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

// postKey submits with an idempotency key and a body.
func (et *tester) postKey(key, body string) (*httptest.ResponseRecorder, error) {
	r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(body))
	w := httptest.NewRecorder()
	err := et.engine.Submit(w, r, engine.Submission{
		Job: et.job, Scheme: "https", Client: "203.0.113.7", Base: "/v1/intents", Key: key,
		Present: func(w http.ResponseWriter, in *intent.Intent) {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprintf(w, `{"presented":%q}`, in.ID)
		},
	})
	return w, err
}

func (et *tester) posts() int { return len(et.backend.AskedFor("POST", "/reports/generate")) }

func TestARepeatGetsTheFirstAnswer(t *testing.T) {
	for _, how := range engine.Responds() {
		inBubble(t, func(t *testing.T, et *tester) {
			first, err := et.postKey("k", `{"a":1}`)
			require.NoError(t, err)
			et.advance(time.Minute)
			again, err := et.postKey("k", `{"a":1}`)
			require.NoError(t, err)
			require.Equal(t, first.Code, again.Code)
			require.Equal(t, first.Body.String(), again.Body.String())
			require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
			require.Empty(t, first.Header().Get("Idempotency-Replayed"))
			again.Header().Del("Idempotency-Replayed")
			require.Equal(t, first.Header(), again.Header())
			require.Equal(t, 1, et.posts())
		}, respond(how))
	}
}

// Handlers around us set headers for every answer, and a proxy replaces some of them.
func TestARepeatHasTheHeadersThatTheFirstAnswerHad(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			w.Header().Add("Vary", "Accept-Language")
			w.Header().Set("Via", "1.1 proxy")
			w.Header().Set("Set-Cookie", "session=of-the-first")
			w.Header().Del("Server")
			well(w, r)
		}, 1)
		post := func(id string) http.Header {
			w := httptest.NewRecorder()
			w.Header().Set("Server", "ours")
			w.Header().Set("Vary", "Origin")
			w.Header().Set("X-Request-Id", id)
			require.NoError(t, et.engine.Submit(w, httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`)),
				engine.Submission{Job: et.job, Scheme: "https", Base: "/v1/intents", Key: "k"}))
			return w.Header()
		}
		first := post("1")
		et.restart()
		again := post("2")
		require.Equal(t, "2", again.Get("X-Request-Id"), "each its own")
		require.Empty(t, again.Values("Set-Cookie"))
		require.Equal(t, []string{"Origin", "Accept-Language"}, again.Values("Vary"))
		require.Equal(t, "1.1 proxy", again.Get("Via"))
		require.Empty(t, again.Values("Server"))
		require.NotEmpty(t, first.Get("Via"))
	})
}

func TestARepeatIsAnsweredAfterTheEndAndARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		first, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		et.backend.Finishes("job-1")
		et.advance(time.Minute)
		et.restart()
		again, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Equal(t, first.Body.String(), again.Body.String())
		require.Equal(t, 1, et.posts())
	})
}

func TestAKeyLivesADayAtLeast(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		_, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		et.backend.Finishes("job-1")
		et.advance(23 * time.Hour)
		_, err = et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Equal(t, 1, et.posts())
		et.advance(2 * time.Hour)
		_, err = et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Equal(t, 2, et.posts())
	})
}

func TestAnotherBodyUnderTheSameKeyIsAMistake(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		_, err := et.postKey("k", `{"a":1}`)
		require.NoError(t, err)
		_, err = et.postKey("k", `{"a":2}`)
		require.ErrorIs(t, err, engine.ErrKeyReused)
		_, err = et.postKey("other", `{"a":2}`)
		require.NoError(t, err)
		require.Equal(t, 2, et.posts())
	})
}

func TestManyEqualRequestsAtOnceMakeOneJob(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Second), 1)
		var all sync.WaitGroup
		ids := make(chan string, 256) // room for all: nobody waits
		for range 256 {
			all.Go(func() {
				w, err := et.postKey("k", `{"a":1}`)
				if err != nil {
					ids <- err.Error()
					return
				}
				ids <- w.Header().Get("Intent-Id")
			})
		}
		all.Wait()
		close(ids)
		seen := make(map[string]int)
		for id := range ids {
			seen[id]++
		}
		require.Len(t, seen, 1, "%v", seen)
		require.Equal(t, 1, et.posts())
	})
}

func TestWaitingForTheFirstRequestEndsAfterHalfAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Minute), 1)
		first := make(chan error, 1)
		go func() {
			_, err := et.postKey("k", `{}`)
			first <- err
		}()
		synctest.Wait()
		begun := time.Now()
		_, err := et.postKey("k", `{}`)
		require.ErrorIs(t, err, engine.ErrKeyInProgress)
		require.InDelta(t, 30, time.Since(begun).Seconds(), 1)
		require.NoError(t, <-first)
		require.Equal(t, 1, et.posts())
	})
}

func TestARefusalFreesTheKey(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Code(503, ""), 1)
		w, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Equal(t, 503, w.Code)
		w, err = et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Equal(t, 202, w.Code)
		require.Empty(t, w.Header().Get("Idempotency-Replayed"))
	})
}

func TestALostAnswerIsUncertainAndNotRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.AnswerLost, 1)
		_, err := et.postKey("k", `{}`)
		require.ErrorIs(t, err, legacytest.ErrNoAnswer)
		_, err = et.postKey("k", `{}`)
		require.ErrorIs(t, err, engine.ErrKeyUncertain)
		require.Equal(t, 1, et.posts())
		page, err := et.store.List(t.Context(), filterAll)
		require.NoError(t, err)
		require.Equal(t, intent.CodeSubmitUncertain, page.Intents[0].Error.Code)
	})
}

func TestAKeyWithoutAStorePassesThrough(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.store.fails(store.ErrUnavailable)
		w, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Equal(t, 202, w.Code)
		require.Equal(t, "unavailable", w.Header().Get("Intent-Status"))
	})
}

func TestAnswersTooLongToKeepAreReplayedAsTheIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Body("application/json", `{"job_id":"1","pad":"`+strings.Repeat("x", 70<<10)+`"}`), 1)
		first, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		again, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		require.JSONEq(t, `{"presented":"`+first.Header().Get("Intent-Id")+`"}`, again.Body.String())
		require.Equal(t, 1, et.posts())
	})
}

func TestAStreamAnswersTheSubmitAndIsWrittenAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		streamed := ""
		submission := engine.Submission{Job: et.job, Base: "/v1/intents", Stream: func(w http.ResponseWriter, in *intent.Intent) {
			streamed = in.ID.String()
			_, _ = w.Write([]byte("event: ..."))
		}}
		w := httptest.NewRecorder()
		require.NoError(t, et.engine.Submit(w, httptest.NewRequest("POST", "/reports/generate", nil), submission))
		require.Equal(t, streamed, w.Header().Get("Intent-Id"))
		require.Equal(t, "event: ...", w.Body.String())

		et.store.fails(store.ErrFull)
		err := et.engine.Submit(httptest.NewRecorder(), httptest.NewRequest("POST", "/reports/generate", nil), submission)
		require.ErrorIs(t, err, engine.ErrNotAccepted)
		require.Equal(t, 1, et.posts(), "nothing was sent")
	})
}

func TestAKeyUnderTheSecretBeforeIsTheSameKey(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		first, err := et.postKey("mac under the old secret", `{}`)
		require.NoError(t, err)
		w := httptest.NewRecorder()
		require.NoError(t, et.engine.Submit(w, httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`)), engine.Submission{
			Job: et.job, Base: "/v1/intents", Key: "mac under the new secret", Former: "mac under the old secret"}))
		require.Equal(t, first.Body.String(), w.Body.String())
		require.Equal(t, 1, et.posts())
	})
}

func TestARepeatGetsAFreshURLAndNoneIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		token := "token-1"
		post := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			require.NoError(t, et.engine.Submit(w, httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`)), engine.Submission{
				Job: et.job, Base: "/v1/intents", Key: "k", Owner: "o",
				ObserveURL: func(id intent.ID) string { return "/v1/intents/" + id.String() + "/events/stream?token=" + token }}))
			return w
		}
		require.Contains(t, post().Body.String(), "token=token-1")
		_, kept, err := et.store.ByKey(t.Context(), "k")
		require.NoError(t, err)
		require.NotContains(t, string(kept.Body), "token")
		token = "token-2"
		again := post()
		require.Contains(t, again.Body.String(), "token=token-2")
		require.Equal(t, strconv.Itoa(again.Body.Len()), again.Header().Get("Content-Length"))
		require.Equal(t, 1, et.posts())
	})
}

// A store that is full for a moment must not keep a key for ever.
func TestAReservationOutlivesNoStoreThatIsAway(t *testing.T) {
	during := func(et *tester, fault legacytest.Fault) (first *httptest.ResponseRecorder) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			et.store.fails(errDisk)
			fault(w, r, well)
		}, 1)
		first, _ = et.postKey("k", `{}`)
		et.store.fails(nil)
		et.advance(time.Minute)
		return first
	}
	t.Run("the job is followed after all", func(t *testing.T) {
		inBubble(t, func(t *testing.T, et *tester) {
			first := during(et, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) { well(w, r) })
			require.Equal(t, "unavailable", first.Header().Get("Intent-Status"))
			again, err := et.postKey("k", `{}`)
			require.NoError(t, err)
			require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
			require.Equal(t, 1, et.posts())
			et.backend.Finishes("job-1")
			et.advance(time.Minute)
			page, err := et.store.List(t.Context(), filterAll)
			require.NoError(t, err)
			require.Equal(t, intent.Completed, page.Intents[0].Status)
		})
	})
	t.Run("an answer that was lost is uncertain", func(t *testing.T) {
		inBubble(t, func(t *testing.T, et *tester) {
			during(et, legacytest.AnswerLost)
			_, err := et.postKey("k", `{}`)
			require.ErrorIs(t, err, engine.ErrKeyUncertain)
		})
	})
	t.Run("a refusal frees the key", func(t *testing.T) {
		inBubble(t, func(t *testing.T, et *tester) {
			during(et, legacytest.Code(503, ""))
			again, err := et.postKey("k", `{}`)
			require.NoError(t, err)
			require.Equal(t, http.StatusAccepted, again.Code)
		})
	})
}

func TestABackendThatNeverAnswersAClientThatLeftKeepsNoKey(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Hang, 1)
		ctx, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`)).WithContext(ctx)
			first <- et.engine.Submit(httptest.NewRecorder(), r, engine.Submission{Job: et.job, Base: "/v1/intents", Key: "k"})
		}()
		synctest.Wait()
		leave()
		require.Error(t, <-first)
		_, err := et.postKey("k", `{}`)
		require.ErrorIs(t, err, engine.ErrKeyUncertain)
		require.Empty(t, et.log.with("ERROR"))
	})
}

func TestWhoWaitsForTheFirstRequestIsNoMaker(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Minute), 1)
		submits := func(maker string) error {
			r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`))
			return et.engine.Submit(httptest.NewRecorder(), r, engine.Submission{Job: et.job, Base: "/v1/intents", Key: "k",
				Maker: func(intent.ID) string { return maker }})
		}
		first := make(chan error, 1)
		go func() { first <- submits("the first") }()
		synctest.Wait()
		require.ErrorIs(t, submits("the second"), engine.ErrKeyInProgress)
		require.NoError(t, <-first)
		in, _, err := et.store.ByKey(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "the first", in.Maker)
	})
}

func TestAKeyUnderTheSecretBeforeIsWaitedForToo(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(5*time.Second), 1)
		first := make(chan error, 1)
		go func() {
			_, err := et.postKey("mac under the old secret", `{}`)
			first <- err
		}()
		synctest.Wait()
		w := httptest.NewRecorder()
		require.NoError(t, et.engine.Submit(w, httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`)), engine.Submission{
			Job: et.job, Base: "/v1/intents", Key: "mac under the new secret", Former: "mac under the old secret"}))
		require.NoError(t, <-first)
		require.Equal(t, "true", w.Header().Get("Idempotency-Replayed"))
		require.Equal(t, 1, et.posts())
	})
}

// postAbout submits with a key and a query, and may wait for the end.
func (et *tester) postAbout(key, query string, wait time.Duration) (*httptest.ResponseRecorder, error) {
	r := httptest.NewRequest("POST", "/reports/generate?"+query, strings.NewReader(`{}`))
	w := httptest.NewRecorder()
	s := engine.Submission{Job: et.job, Scheme: "https", Base: "/v1/intents", Key: key,
		Present: func(w http.ResponseWriter, in *intent.Intent) { w.WriteHeader(http.StatusAccepted) }}
	if wait > 0 {
		s.Await = et.await(wait)
		s.Applied = func(h http.Header) { h.Set("Preference-Applied", "wait") }
	}
	return w, et.engine.Submit(w, r, s)
}

func TestAnotherQueryUnderTheSameKeyIsAMistake(t *testing.T) {
	for _, how := range engine.Responds() {
		inBubble(t, func(t *testing.T, et *tester) {
			_, err := et.postAbout("k", "kind=a", 0)
			require.NoError(t, err)
			_, err = et.postAbout("k", "kind=b", 0)
			require.ErrorIs(t, err, engine.ErrKeyReused)
			_, err = et.postAbout("k", "kind=a", 0)
			require.NoError(t, err)
			require.Len(t, et.backend.Jobs(), 1)
		}, respond(how))
	}
}

func TestEveryRepeatNamesTheIntent(t *testing.T) {
	for _, how := range engine.Responds() {
		inBubble(t, func(t *testing.T, et *tester) {
			var heads []http.Header
			for range 2 {
				w := httptest.NewRecorder()
				require.NoError(t, et.engine.Submit(w, httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`)), engine.Submission{
					Job: et.job, Base: "/v1/intents", Key: "k", Owner: "ada", // its answer has a token in it, and is not kept
					Present: func(w http.ResponseWriter, in *intent.Intent) { w.WriteHeader(http.StatusAccepted) }}))
				heads = append(heads, w.Header())
			}
			require.NotEmpty(t, heads[1].Get("Intent-Id"))
			require.Equal(t, heads[0].Get("Intent-Id"), heads[1].Get("Intent-Id"))
			require.Equal(t, heads[0]["Link"], heads[1]["Link"])
		}, respond(how))
	}
}

func TestARepeatCanWaitForTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.EveryJobSays(legacytest.Status{State: "running"}, legacytest.Status{State: "running"}, legacytest.Status{State: "done", URL: "/x"})
		_, err := et.postAbout("k", "", 0)
		require.NoError(t, err)
		w, err := et.postAbout("k", "", time.Minute)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, w.Code)
		require.Contains(t, w.Body.String(), `"done"`)
		require.Equal(t, "true", w.Header().Get("Idempotency-Replayed"))
		require.Equal(t, "wait", w.Header().Get("Preference-Applied"))
	})
}

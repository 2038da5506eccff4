package engine_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

func respond(how engine.Respond) func(*engine.Job, *adapter.Spec) {
	return func(j *engine.Job, _ *adapter.Spec) { j.Respond = how }
}

func TestMergeAddsTheIntentToTheBackendsAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		w := et.post()
		id := w.Header().Get("Intent-Id")
		require.Equal(t, http.StatusAccepted, w.Code)
		require.Equal(t, `{"job_id":"job-1","status":"pending","intent_id":"`+id+
			`","observe_url":"/v1/intents/`+id+`/events/stream"}`+"\n", w.Body.String())
		require.Equal(t, `</v1/intents/`+id+`>; rel="status"`, w.Header().Get("Link"))
		require.EqualValues(t, w.Body.Len(), w.Result().ContentLength)
	})
}

func TestMergeLeavesAloneWhatItMustNotChange(t *testing.T) {
	for name, test := range map[string]struct{ header, body string }{
		"a key is taken":    {"", `{"job_id":"1","intent_id":"theirs"}`},
		"no object":         {"Location: /reports/status/1", `["1"]`},
		"no JSON":           {"Location: /reports/status/1", `job 1 is queued`},
		"no-transform":      {"Cache-Control: private, no-transform", `{"job_id":"1"}`},
		"signed":            {"X-Acme-Signature: abc", `{"job_id":"1"}`},
		"message signature": {"Signature-Input: sig1=()", `{"job_id":"1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
					if name, value, ok := strings.Cut(test.header, ": "); ok {
						w.Header().Set(name, value)
					}
					w.Header().Set("ETag", `"v1"`)
					w.WriteHeader(http.StatusAccepted)
					_, _ = w.Write([]byte(test.body))
				}, 1)
				w := et.post()
				require.NotEmpty(t, w.Header().Get("Intent-Id"))
				require.Equal(t, test.body, w.Body.String())
				require.Equal(t, `"v1"`, w.Header().Get("ETag"))
			})
		})
	}
}

func TestMergeDropsWhatDescribesTheOldBody(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Digest", "sha-256=:x:")
			w.Header().Set("Content-Length", "14")
			_, _ = w.Write([]byte(`{"job_id": 17}`))
		}, 1)
		w := et.post()
		require.Empty(t, w.Header().Get("ETag"))
		require.Empty(t, w.Header().Get("Content-Digest"))
		require.Contains(t, w.Body.String(), `{"job_id": 17,"intent_id":"`)
	})
}

func TestUntouchedChangesHeadersOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		w := et.post()
		require.NotEmpty(t, w.Header().Get("Intent-Id"))
		require.Equal(t, `{"job_id":"job-1","status":"pending"}`+"\n", w.Body.String())
	}, respond(engine.RespondUntouched))
}

func TestRespondIntentAnswersWithTheIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			w.Header().Set("Set-Cookie", "session=1")
			w.Header().Set("X-Backend", "1")
			w.Header().Set("Access-Control-Allow-Origin", "https://app.example.com")
			well(w, r)
		}, 1)
		w := et.post()
		id := w.Header().Get("Intent-Id")
		require.Equal(t, http.StatusAccepted, w.Code)
		require.JSONEq(t, `{"presented":"`+id+`"}`, w.Body.String())
		require.Equal(t, "session=1", w.Header().Get("Set-Cookie"), "a session that the backend opens is its client's")
		require.Empty(t, w.Header().Get("X-Backend"))
		require.Equal(t, "https://app.example.com", w.Header().Get("Access-Control-Allow-Origin"))
		parsed, err := intent.ParseID(id)
		require.NoError(t, err)
		et.wantEvents(parsed, "created submitted delivered in_progress")
	}, respond(engine.RespondIntent))
}

func TestRefusalsPassThroughUntouchedAndLeaveNothing(t *testing.T) {
	for _, how := range engine.Responds() {
		for code, fault := range map[int]legacytest.Fault{
			400: legacytest.Code(400, ""),
			503: legacytest.Code(503, "7"),
			200: legacytest.HTML,
		} {
			inBubble(t, func(t *testing.T, et *tester) {
				et.backend.Meets(legacytest.Submits, fault, 1)
				w := et.post()
				require.Equal(t, code, w.Code)
				require.Empty(t, w.Header().Get("Intent-Id"))
				require.Empty(t, w.Header().Get("Link"))
				et.wantNothingStored()
			}, respond(how))
		}
	}
}

func TestABackendThatIsDownMakesNoIntent(t *testing.T) {
	for _, how := range engine.Responds() {
		inBubble(t, func(t *testing.T, et *tester) {
			et.backend.Meets(legacytest.Submits, legacytest.Reset, 1)
			_, err := et.tryPost()
			require.ErrorIs(t, err, legacytest.ErrNoAnswer)
			et.wantNothingStored()
		}, respond(how))
	}
}

func TestA2xxWithoutAnIDIsToldWithTheKeysItHas(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Body("application/json", `{"ticket":{"no":7},"queue":"a"}`), 2)
		et.post()
		et.post()
		lines := et.log.with("names no job")
		require.Len(t, lines, 1, "once")
		require.Contains(t, lines[0], "queue ticket")
	})
}

func TestAutoTellsOnceWhatItInferred(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.post()
		et.post()
		lines := et.log.with("would pin")
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], "job_id body.job_id")
		require.Contains(t, lines[0], "state body.status")
	})
}

func TestAStoreThatFailsCostsTheClientOnlyTheIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.store.fails(store.ErrFull)
		w := et.post()
		require.Equal(t, http.StatusAccepted, w.Code)
		require.JSONEq(t, `{"job_id":"job-1","status":"pending"}`, w.Body.String())
		require.Equal(t, "unavailable", w.Header().Get("Intent-Status"))
		require.Empty(t, w.Header().Get("Intent-Id"))
	})
}

func TestRespondIntentSendsNothingThatCannotBeStored(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.store.fails(store.ErrFull)
		_, err := et.tryPost()
		require.ErrorIs(t, err, engine.ErrNotAccepted)
		require.ErrorIs(t, err, store.ErrFull)
		require.Empty(t, et.backend.Asked())
	}, respond(engine.RespondIntent))
}

func TestAClientThatLeavesStillHasAnIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Second), 1)
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			_, _ = et.tryPost(func(r *http.Request) { *r = *r.WithContext(ctx) })
		}()
		synctest.Wait()
		leave()
		et.advance(time.Minute)
		page, err := et.store.List(t.Context(), filterAll)
		require.NoError(t, err)
		require.Len(t, page.Intents, 1)
		require.Equal(t, "job-1", page.Intents[0].JobID)
		require.NotEmpty(t, et.pollsAt("job-1"))
	})
}

func TestAnAnswerThatBreaksOffIsNotMadeWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.BrokenOff, 1)
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { _, _ = et.tryPost() })
	})
}

func TestALongAnswerIsReadByItsHeadAndPassedOnWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		long := strings.Repeat("x", 3<<20)
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			w.Header().Set("Location", "/reports/status/job-9")
			w.WriteHeader(http.StatusAccepted)
			for part := range strings.SplitSeq(long, "") { // small writes, as a proxy's copy makes
				_, _ = w.Write([]byte(part))
			}
		}, 1)
		w := et.post()
		require.NotEmpty(t, w.Header().Get("Intent-Id"))
		require.Equal(t, len(long), w.Body.Len())
	}, func(_ *engine.Job, s *adapter.Spec) { s.Status = nil })
}

func TestTheBackendIsNotAskedForWhatCannotBeRead(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.post(func(r *http.Request) {
			r.Header.Set("Accept-Encoding", "br")
			r.Header.Set("Accept", "application/json, text/event-stream;q=0.5")
			r.Header.Set("Authorization", "Bearer theirs")
		})
		asked := et.backend.AskedFor("POST", "/reports/generate")
		require.Len(t, asked, 1)
		require.Empty(t, asked[0].Header.Get("Accept-Encoding"))
		require.Equal(t, "application/json", asked[0].Header.Get("Accept"))
		require.Equal(t, "Bearer theirs", asked[0].Header.Get("Authorization"))
	})
}

func TestRequestIsReadByExpressionsUpToItsLimit(t *testing.T) {
	byRequest := func(j *engine.Job, s *adapter.Spec) {
		s.JobID = "request.kind"
		j.MaxBody = 64
	}
	inBubble(t, func(t *testing.T, et *tester) {
		_, job := et.submit()
		require.Equal(t, "annual", job)
		require.Equal(t, `{"kind":"annual"}`, et.backend.Jobs()[0].Body, "the backend gets all of it")
	}, byRequest)
	inBubble(t, func(t *testing.T, et *tester) {
		w := et.post(func(r *http.Request) {
			*r = *httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{"kind":"`+strings.Repeat("x", 100)+`"}`))
		})
		require.Empty(t, w.Header().Get("Intent-Id"), "absent, so there is no id")
		require.Equal(t, http.StatusAccepted, w.Code)
	}, byRequest)
}

// wantNothingStored asserts that there is neither an intent nor a reservation.
func (et *tester) wantNothingStored() {
	et.t.Helper()
	page, err := et.store.List(et.t.Context(), filterAll)
	require.NoError(et.t, err)
	require.Empty(et.t, page.Intents)
	et.restart()
	et.advance(time.Second)
	page, err = et.store.List(et.t.Context(), filterAll)
	require.NoError(et.t, err)
	require.Empty(et.t, page.Intents, "a reservation was left behind")
}

func TestASubmitThatWaitsGetsTheEndInTheBackendsWords(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.EveryJobSays(legacytest.Status{State: "running"}, legacytest.Status{State: "done", URL: "/x"})
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`))
		r.Header.Set("Prefer", "respond-async, wait=30")
		require.NoError(t, et.engine.Submit(w, r, engine.Submission{Job: et.job, Base: "/v1/intents", Await: et.await(30 * time.Second)}))
		require.Equal(t, 200, w.Code)
		require.JSONEq(t, `{"job_id":"job-1","status":"done","url":"/x"}`, w.Body.String())
		require.NotEmpty(t, w.Header().Get("Intent-Id"))
		require.Equal(t, "respond-async", et.backend.AskedFor("POST", "/reports/generate")[0].Header.Get("Prefer"))
	})
}

func TestASubmitThatWaitsIsShownAcrossOriginsAsTheSubmitSays(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			h := w.Header()
			h.Set("Access-Control-Expose-Headers", "X-Poll")
			h.Set("Vary", "Accept-Language")
			h.Set("Connection", "X-Hop")
			h.Set("X-Hop", "1")
			h.Set("Set-Cookie", "session=another's")
			h.Set("X-Rows", "7")
			well(w, r)
		}, legacytest.Always)
		et.backend.EveryJobSays(legacytest.Status{State: "running"}, legacytest.Status{State: "done", URL: "/x"})
		w := httptest.NewRecorder()
		w.Header().Set("Vary", "Origin")
		r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`))
		require.NoError(t, et.engine.Submit(w, r, engine.Submission{Job: et.job, Base: "/v1/intents", Await: et.await(30 * time.Second),
			Decorate: func(h http.Header) { h.Set("Access-Control-Expose-Headers", "Intent-Id") }}))
		require.Equal(t, 200, w.Code)
		h := w.Header()
		require.Equal(t, []string{"Intent-Id"}, h["Access-Control-Expose-Headers"])
		require.Equal(t, []string{"Origin", "Accept-Language"}, h["Vary"])
		require.Equal(t, "7", h.Get("X-Rows"))
		require.Empty(t, h["X-Hop"])
		require.Empty(t, h["Set-Cookie"])
	})
}

func TestASubmitThatHasWaitedEnoughGetsWhatItWouldHaveGot(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`))
		require.NoError(t, et.engine.Submit(w, r, engine.Submission{Job: et.job, Base: "/v1/intents", Await: et.await(time.Second)}))
		require.Equal(t, 202, w.Code)
		require.Contains(t, w.Body.String(), `"observe_url":"/v1/intents/`)
	})
}

// await waits for an intent's end, for d, and gives the last answer.
func (et *tester) await(d time.Duration) func(*intent.Intent) *adapter.Answer {
	return func(in *intent.Intent) *adapter.Answer {
		et.engine.Look(in.ID)
		et.watch(in.ID, d)
		et.advance(d)
		if s := et.engine.Look(in.ID); s.State == engine.Over {
			return s.Answer
		}
		return nil
	}
}

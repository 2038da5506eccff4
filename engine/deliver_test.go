package engine_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// queued makes submits of the job wait for the backend.
func queued(change ...func(*engine.Queue)) func(*engine.Job, *adapter.Spec) {
	return func(j *engine.Job, _ *adapter.Spec) {
		q := engine.DefaultQueue
		for _, c := range change {
			c(&q)
		}
		j.Queue = &q
	}
}

func onUncertain(u engine.Uncertain) func(*engine.Queue) {
	return func(q *engine.Queue) { q.OnUncertain = u }
}

// A road is the way to the backend, which can be closed: nothing is sent then.
type road struct {
	engine.Transport
	closed atomic.Bool
	tries  atomic.Int64
}

func (r *road) Send(w http.ResponseWriter, q *http.Request) error {
	r.tries.Add(1)
	if r.closed.Load() {
		return engine.ErrNotSent
	}
	return r.Transport.Send(w, q)
}

func closed(way *road) func(*engine.Job, *adapter.Spec) {
	return func(j *engine.Job, _ *adapter.Spec) {
		way.Transport = j.Backend.Transport
		way.closed.Store(true)
		j.Backend.Transport = way
	}
}

// queue submits and returns the intent that it is answered with.
func (et *tester) queue(edit ...func(*http.Request)) intent.ID {
	et.t.Helper()
	w := et.post(edit...)
	require.Equal(et.t, http.StatusAccepted, w.Code)
	id, err := intent.ParseID(w.Header().Get("Intent-Id"))
	require.NoError(et.t, err)
	require.Contains(et.t, w.Body.String(), id.String())
	return id
}

// why is the error that an intent ended with.
func (et *tester) why(id intent.ID) intent.Error {
	et.t.Helper()
	in := et.get(id)
	require.NotNil(et.t, in.Error, "status %s", in.Status)
	return *in.Error
}

func TestAQueuedSubmitIsAnsweredAtOnceAndDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Minute), 1)
		begun := time.Now()
		id := et.queue(func(r *http.Request) {
			r.Header.Set("Content-Type", "application/vnd.report+json")
			r.Header.Set("X-Request-Id", "r-1")
			r.Header.Set("X-Secret-Of-The-Hop", "not for a store")
		})
		require.Zero(t, time.Since(begun), "the client waits for nothing")
		et.wantEvents(id, "created submitted")
		et.advance(time.Minute)
		et.wantEvents(id, "created submitted delivered in_progress")
		et.backend.Finishes("job-1")
		et.advance(5 * time.Second)
		et.wantEvents(id, "created submitted delivered in_progress completed")
		job, _ := et.backend.Job("job-1")
		require.Equal(t, `{"kind":"annual"}`, job.Body)
		asked := et.backend.AskedFor("POST", "/reports/generate")[0]
		require.Equal(t, "example.com", asked.Host)
		require.Equal(t, "application/vnd.report+json", asked.Header.Get("Content-Type"))
		require.Equal(t, "r-1", asked.Header.Get("X-Request-Id"))
		require.Empty(t, asked.Header.Get("X-Secret-Of-The-Hop"))
	}, queued())
}

func TestASubmitWaitsForABackendThatIsAway(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.queue()
		et.advance(10 * time.Minute)
		require.Equal(t, intent.Submitted, et.get(id).Status)
		require.Equal(t, "backend", et.get(id).Waiting)
		events := et.events(id)
		require.Equal(t, intent.TypeDeliveryFailed, events[2].Type)
		require.Equal(t, 1, events[2].Details.Attempt)
		require.WithinDuration(t, events[3].At, *events[2].Details.RetryAt, time.Second, "the next try comes when it was said")
		require.Greater(t, events[len(events)-1].At.Sub(events[len(events)-2].At), 20*time.Second, "the pause has grown")
		way.closed.Store(false)
		et.advance(time.Minute)
		require.Equal(t, 1, et.posts())
		require.Contains(t, []intent.Status{intent.Delivered, intent.InProgress}, et.get(id).Status)
		require.Empty(t, et.get(id).Waiting)
	}, queued(), func(j *engine.Job, s *adapter.Spec) { closed(way)(j, s) })
}

func TestASubmitThatCannotBeDeliveredInItsTimeFails(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.queue()
		et.advance(15*time.Minute + time.Second)
		why := et.why(id)
		require.Equal(t, intent.CodeUndelivered, why.Code)
		require.True(t, why.Retryable)
		require.Equal(t, intent.Failed, et.get(id).Status)
		require.Equal(t, 15*time.Minute, et.get(id).Updated.Sub(et.get(id).Created))
		way.closed.Store(false)
		et.advance(time.Hour)
		require.Zero(t, et.posts())
	}, queued(), func(j *engine.Job, s *adapter.Spec) { closed(way)(j, s) })
}

func TestTheDeadlineOfADeliveredSubmitIsTheJobs(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.queue()
		et.advance(20 * time.Hour)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.advance(4*time.Hour + time.Second)
		require.Equal(t, intent.TimedOut, et.get(id).Status)
		require.Equal(t, 24*time.Hour, et.get(id).Updated.Sub(et.get(id).Created))
	}, queued())
}

func TestABusyBackendSaysWhenToTryAgain(t *testing.T) {
	for _, code := range []int{408, 425, 429, 503} {
		inBubble(t, func(t *testing.T, et *tester) {
			et.backend.Meets(legacytest.Submits, legacytest.Code(code, "100"), 1)
			id := et.queue()
			et.advance(99 * time.Second)
			require.Equal(t, 1, et.posts())
			et.advance(2 * time.Second)
			require.Equal(t, 2, et.posts())
			et.wantEvents(id, "created submitted delivery_failed delivered in_progress in_progress")
			require.Len(t, et.backend.Jobs(), 1)
		}, queued())
	}
}

func TestARefusalIsTheEndInTheBackendsWords(t *testing.T) {
	for code, fault := range map[string]legacytest.Fault{
		"refused 422": legacytest.Code(422, ""),
		"refused 401": legacytest.Code(401, ""),
		"refused 302": legacytest.Code(302, ""),
		"no_job 200":  legacytest.HTML,
	} {
		inBubble(t, func(t *testing.T, et *tester) {
			et.backend.Meets(legacytest.Submits, fault, legacytest.Always)
			id := et.queue()
			et.advance(time.Hour)
			want, number, _ := strings.Cut(code, " ")
			require.Equal(t, want, et.why(id).Code)
			require.Contains(t, et.why(id).Message, number)
			require.Equal(t, 1, et.posts())
			et.wantEvents(id, "created submitted failed")
		}, queued())
	}
}

func TestWhatMayBeAtTheBackendIsNotSentAgain(t *testing.T) {
	for name, fault := range map[string]legacytest.Fault{
		"answer lost": legacytest.AnswerLost, "500": legacytest.Code(500, ""), "502": legacytest.Code(502, ""),
		"broken off": legacytest.BrokenOff, "hang": legacytest.Hang,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				et.backend.Meets(legacytest.Submits, fault, 1)
				id := et.queue()
				et.advance(time.Hour)
				require.Equal(t, intent.CodeSubmitUncertain, et.why(id).Code)
				require.Equal(t, 1, et.posts())
			}, queued())
		})
	}
}

func TestResubmitSendsTheSameKey(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.AnswerLost, 3)
		id := et.queue()
		et.advance(time.Minute)
		asked := et.backend.AskedFor("POST", "/reports/generate")
		require.Len(t, asked, 4)
		for _, a := range asked {
			require.Equal(t, id.String(), a.Header.Get("Idempotency-Key"))
		}
		et.wantEvents(id, "created submitted delivery_failed delivery_failed delivery_failed delivered in_progress in_progress")
		require.Equal(t, 4, et.get(id).Attempts)
	}, queued(onUncertain(engine.UncertainResubmits)))
}

func TestTheClientsOwnKeyIsTheOneThatTheBackendGets(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.queue(func(r *http.Request) { r.Header.Set("Idempotency-Key", "theirs") })
		require.Equal(t, "theirs", et.backend.AskedFor("POST", "/reports/generate")[0].Header.Get("Idempotency-Key"))
	}, queued(onUncertain(engine.UncertainResubmits)))
}

type sends func(w http.ResponseWriter, r *http.Request) error

func (s sends) Send(w http.ResponseWriter, r *http.Request) error { return s(w, r) }

func TestAQueuedSubmitSurvivesARestartBeforeItsTry(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.queue()
		et.advance(3 * time.Second)
		et.restart()
		way.closed.Store(false)
		et.advance(2 * time.Minute)
		require.Equal(t, 1, et.posts())
		require.Equal(t, intent.InProgress, et.get(id).Status)
	}, queued(), func(j *engine.Job, s *adapter.Spec) { closed(way)(j, s) })
}

func TestAStopCutsATryAndItsOutcomeIsUncertain(t *testing.T) {
	for _, u := range engine.Uncertains() {
		inBubble(t, func(t *testing.T, et *tester) {
			et.backend.Meets(legacytest.Submits, legacytest.Hang, 1)
			id := et.queue()
			begun := time.Now()
			et.restart()
			require.Equal(t, 5*time.Second, time.Since(begun), "the try gets a while")
			et.advance(5 * time.Minute)
			if u == engine.UncertainFails {
				require.Equal(t, intent.CodeSubmitUncertain, et.why(id).Code)
				require.Equal(t, 1, et.posts())
				return
			}
			require.Equal(t, 2, et.posts())
			require.Equal(t, intent.InProgress, et.get(id).Status)
		}, queued(onUncertain(u)), looksUp, answersLookups(new(road), func() string { return `{"jobs":[]}` }))
	}
}

func TestWhatTheBackendSaidIsStoredWhenTheStoreIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			et.store.fails(errDisk)
			well(w, r)
		}, 1)
		id := et.queue()
		et.advance(time.Minute)
		require.Equal(t, intent.Submitted, et.get(id).Status)
		et.store.fails(nil)
		et.advance(time.Minute)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		require.Equal(t, 1, et.posts())
		et.backend.Finishes("job-1")
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, queued())
}

func TestASubmitIsNotTakenWithoutTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.store.fails(errDisk)
		_, err := et.tryPost()
		require.ErrorIs(t, err, engine.ErrNotAccepted)
		et.store.fails(nil)
		et.advance(time.Hour)
		require.Zero(t, et.posts())
	}, queued())
}

func TestNoMoreWaitThanMay(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		et.queue()
		second := et.queue()
		_, err := et.tryPost()
		require.ErrorIs(t, err, engine.ErrQueueFull)
		_, err = et.engine.Cancel(t.Context(), second, engine.Cancellation{})
		require.NoError(t, err)
		et.queue()
		et.restart()
		_, err = et.tryPost()
		require.ErrorIs(t, err, engine.ErrQueueFull, "those of an earlier life count")
		way.closed.Store(false)
		et.advance(time.Minute)
		et.queue()
	}, queued(func(q *engine.Queue) { q.Max = 2 }), func(j *engine.Job, s *adapter.Spec) { closed(way)(j, s) })
}

func TestABodyThatIsTooLongOrBreaksOffIsNotTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		_, err := et.tryPost(func(r *http.Request) {
			r.Body = httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", 1<<20+1))).Body
		})
		require.ErrorIs(t, err, engine.ErrTooLong)
		_, err = et.tryPost(func(r *http.Request) { r.Body = io.NopCloser(iotest.TimeoutReader(strings.NewReader("{}"))) })
		require.ErrorIs(t, err, engine.ErrBrokeOff)
		et.advance(time.Minute)
		require.Zero(t, et.posts())
	}, queued())
}

func TestACanceledSubmitIsNeverSent(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.queue()
		in, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{Reason: "changed my mind"})
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
		events := et.events(id)
		require.Equal(t, "not_sent", events[len(events)-1].Details.Backend)
		way.closed.Store(false)
		et.advance(time.Hour)
		require.Zero(t, et.posts())
		require.Nil(t, et.get(id).Outgoing, "nothing of the request's head is kept")
	}, queued(), func(j *engine.Job, s *adapter.Spec) { closed(way)(j, s) })
}

func TestARepeatOfAQueuedSubmitGetsTheSameIntent(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		first, err := et.postKey("k", `{"a":1}`)
		require.NoError(t, err)
		again, err := et.postKey("k", `{"a":1}`)
		require.NoError(t, err)
		require.Equal(t, first.Body.String(), again.Body.String())
		require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
		_, err = et.postKey("k", `{"a":2}`)
		require.ErrorIs(t, err, engine.ErrKeyReused)
		way.closed.Store(false)
		et.advance(time.Minute)
		require.Equal(t, 1, et.posts())
	}, queued(), func(j *engine.Job, s *adapter.Spec) { closed(way)(j, s) })
}

func TestNothingOfAQueuedRequestIsReadableInTheStore(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.queue(func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer canary-1")
			r.URL.RawQuery = "key=canary-2"
			r.RequestURI = ""
			r.Body = io.NopCloser(strings.NewReader(`{"kind":"canary-3"}`))
		})
		in := et.get(id)
		stored, err := json.Marshal(in)
		require.NoError(t, err)
		require.NotContains(t, string(stored)+string(in.Request), "canary")
		way.closed.Store(false)
		et.advance(time.Minute)
		asked := et.backend.AskedFor("POST", "/reports/generate")[0]
		require.Equal(t, "Bearer canary-1", asked.Header.Get("Authorization"))
		require.Equal(t, "/reports/generate?key=canary-2", asked.Path)
		job, _ := et.backend.Job("job-1")
		require.Equal(t, `{"kind":"canary-3"}`, job.Body)
		require.NotContains(t, string(et.get(id).Request), "canary", "nor afterwards")
	}, queued(), func(j *engine.Job, s *adapter.Spec) {
		closed(way)(j, s)
		j.CopyHeaders = []string{"Authorization"}
	})
}

func TestSlowSubmitsLeaveHalfOfTheLaneToPolls(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		polled := et.queue()
		et.advance(time.Second)
		et.backend.Meets(legacytest.Submits, legacytest.Hang, legacytest.Always)
		for range 10 {
			et.queue()
		}
		et.watch(polled, time.Hour)
		et.advance(time.Second)
		require.Equal(t, 1+2, et.posts(), "two of four")
		et.advance(time.Minute)
		require.Equal(t, 1+3, et.posts(), "and one more when they have had their time: the rest is for other jobs")
		require.Greater(t, len(et.pollsAt("job-1")), 25)
	}, queued(), func(j *engine.Job, _ *adapter.Spec) { j.Backend.InFlight = 4 })
}

func TestMaxAttemptsOfTheRequestBoundsTheTries(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Code(503, ""), legacytest.Always)
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`))
		require.NoError(t, et.engine.Submit(w, r, engine.Submission{Job: et.job, Base: "/v1/intents", Queue: &engine.DefaultQueue,
			Envelope: &intent.Envelope{MaxAttempts: 3}, Present: func(w http.ResponseWriter, in *intent.Intent) { w.WriteHeader(200) }}))
		et.advance(time.Hour)
		require.Equal(t, 3, et.posts())
	})
}

func TestASubmitCanHaveAnEarlierDeadlineAndACancelWithIt(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/reports/generate", strings.NewReader(`{}`))
		require.NoError(t, et.engine.Submit(w, r, engine.Submission{Job: et.job, Base: "/v1/intents", Within: time.Minute, Cancels: true}))
		id, err := intent.ParseID(w.Header().Get("Intent-Id"))
		require.NoError(t, err)
		et.restart() // what the submit asked for is kept
		et.advance(time.Minute + time.Second)
		require.Equal(t, intent.TimedOut, et.get(id).Status)
		job, _ := et.backend.Job("job-1")
		require.Equal(t, 1, job.Cancels)
	})
}

func TestACancelDoesNotLoseWhatTheBackendHasSaid(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			et.store.fails(errDisk)
			well(w, r)
		}, 1)
		id := et.queue()
		et.advance(time.Second)
		_, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.Error(t, err, "the store takes nothing yet")
		et.store.fails(nil)
		in, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
		require.Equal(t, "job-1", in.JobID, "what the backend had answered was stored first")
		job, _ := et.backend.Job("job-1")
		require.Equal(t, 1, job.Cancels)
	}, queued())
}

func TestWhatCannotBeOpenedAnyMoreIsUncertainIfItWasSent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Hang, 1)
		id := et.queue()
		stored := et.get(id)
		require.True(t, stored.Outgoing.Sent)
		et.sealer = otherSecret{}
		et.restart()
		et.advance(time.Minute)
		require.Equal(t, intent.CodeSubmitUncertain, et.why(id).Code)
	}, queued(onUncertain(engine.UncertainResubmits)))
}

// otherSecret opens nothing.
type otherSecret struct{ rot }

func (otherSecret) Open([16]byte, string, []byte) ([]byte, error) {
	return nil, errors.New("another secret")
}

func TestAResubmitAfterAReloadHasTheKeyOfTheFirstTry(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Hang, 1)
		id := et.queue()
		et.reload(queued(onUncertain(engine.UncertainResubmits)))
		et.restart()
		et.advance(time.Minute)
		asked := et.backend.AskedFor("POST", "/reports/generate")
		require.Len(t, asked, 2)
		require.Equal(t, id.String(), asked[0].Header.Get("Idempotency-Key"))
		require.Equal(t, id.String(), asked[1].Header.Get("Idempotency-Key"))
	}, queued())
}

func TestSubmitsOfOneJobThatHangLeavePlacesToOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		_, second := et.besides("other")
		et.backend.Meets(legacytest.Submits, legacytest.Hang, 32)
		for range 40 {
			et.queue()
		}
		et.job = second
		id := et.queue()
		et.advance(time.Second)
		require.Equal(t, 25, et.posts(), "24 of the first job, and that of the second")
		_ = id
	}, queued())
}

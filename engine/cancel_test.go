package engine_test

import (
	"context"
	"net/http"
	"sync"
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

// cancel asks for an intent's end and returns it with the error.
func (et *tester) cancel(id intent.ID) (intent.Intent, error) {
	return et.engine.Cancel(et.t.Context(), id, engine.Cancellation{Reason: "changed my mind",
		Header: http.Header{"Authorization": {"Bearer theirs"}}})
}

func TestCancelReachesTheBackendAndEndsTheIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		in, err := et.cancel(id)
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
		asked := et.backend.AskedFor("DELETE", "/reports/status/"+job)
		require.Len(t, asked, 1)
		require.Equal(t, "Bearer theirs", asked[0].Header.Get("Authorization"))
		last := et.events(id)[in.Seq-1]
		require.Equal(t, "accepted", last.Details.Backend)
		require.Equal(t, "changed my mind", last.Details.Error.Message)
		require.Equal(t, intent.ByClient, last.Details.Error.Category)
		polls := len(et.pollsAt(job))
		et.advance(time.Hour)
		require.Len(t, et.pollsAt(job), polls)

		_, err = et.cancel(id)
		require.ErrorIs(t, err, engine.ErrOver)
	})
}

func TestCancelWithoutAWayToCancelEndsTheIntentAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		in, err := et.cancel(id)
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
		require.Equal(t, "not_configured", et.events(id)[in.Seq-1].Details.Backend)
		require.Empty(t, et.backend.AskedFor("DELETE", "/reports/status/"+job))
	}, func(_ *engine.Job, s *adapter.Spec) { s.Cancel = nil })
}

func TestCancelOfAJobThatIsOverTellsHowItEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Finishes(job)
		in, err := et.cancel(id)
		require.NoError(t, err)
		require.Equal(t, intent.Completed, in.Status)
		et.wantEvents(id, "created submitted delivered in_progress completed")
	})
}

func TestCancelThatIsRefusedChangesNothing(t *testing.T) {
	for name, fault := range map[string]legacytest.Fault{
		"refused":     legacytest.Code(403, ""),
		"unavailable": legacytest.Code(503, ""),
		"away":        legacytest.Reset,
		"hanging":     legacytest.Hang,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				id, job := et.submit()
				et.backend.Meets(legacytest.Cancels, fault, 1)
				begun := time.Now()
				_, err := et.cancel(id)
				require.ErrorIs(t, err, engine.ErrNotCanceled)
				require.LessOrEqual(t, time.Since(begun), 5*time.Second)
				require.Equal(t, intent.InProgress, et.get(id).Status)
				et.backend.Finishes(job)
				et.advance(time.Minute)
				require.Equal(t, intent.Completed, et.get(id).Status, "polling goes on")
			})
		})
	}
}

func TestCancelRacesCompletionToOneEnd(t *testing.T) {
	for delay := range 20 {
		inBubble(t, func(t *testing.T, et *tester) {
			id, job := et.submit()
			et.backend.Meets(legacytest.Polls, legacytest.Late(100*time.Millisecond), legacytest.Always)
			et.backend.Finishes(job)
			et.advance(400*time.Millisecond + time.Duration(delay)*12*time.Millisecond)
			_, err := et.cancel(id)
			et.advance(time.Second)
			in := et.get(id)
			require.Equal(t, intent.Completed, in.Status)
			if err != nil {
				require.ErrorIs(t, err, engine.ErrOver)
			}
			et.wantEvents(id, "created submitted delivered in_progress completed")
		})
	}
}

func TestManyCancelsAtOnceReachTheBackendOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		var all sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 50 {
			all.Go(func() {
				if _, err := et.cancel(id); err == nil {
					mu.Lock()
					won++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, won)
		require.Len(t, et.backend.AskedFor("DELETE", "/reports/status/"+job), 1)
	})
}

func TestCancelIsStoredAlthoughTheClientLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		ctx, leave := context.WithCancel(t.Context())
		et.backend.Meets(legacytest.Cancels, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			well(w, r)
			leave()
		}, 1)
		_, _ = et.engine.Cancel(ctx, id, engine.Cancellation{})
		synctest.Wait()
		require.NotEqual(t, intent.Completed, et.get(id).Status)
	})
}

func TestAnIntentThatNobodyHoldsYetCanBeCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.use() // its job is gone from the config
		in, err := et.cancel(id)
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
	})
}

func TestACancelWhileAnIntentIsBeingTakenOverStrandsNothing(t *testing.T) {
	for name, refused := range map[string]bool{"accepted": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				id, job := et.submit()
				et.advance(5 * time.Second)
				claimed := make(chan struct{})
				et.restartOn(&moodyStore{claimed: claimed})
				if refused {
					et.backend.Meets(legacytest.Cancels, legacytest.Code(403, ""), 1)
				}
				_, err := et.cancel(id)
				require.Equal(t, refused, err != nil)
				polls := len(et.pollsAt(job))
				close(claimed)
				et.advance(10 * time.Minute)
				if !refused {
					require.LessOrEqual(t, len(et.pollsAt(job)), polls+1, "nothing is asked after the end")
					return
				}
				et.backend.Finishes(job)
				et.advance(10 * time.Minute)
				require.Equal(t, intent.Completed, et.get(id).Status)
			})
		})
	}
}

func TestAnAcceptedCancelThatTheStoreDoesNotTakeIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(5 * time.Second)
		et.store.fails(errDisk)
		_, err := et.cancel(id)
		require.ErrorIs(t, err, store.ErrUnavailable, "the backend did cancel")
		et.store.fails(nil)
		et.backend.Fails(job, "killed by a cancel")
		et.advance(time.Minute)
		require.Equal(t, intent.Canceled, et.get(id).Status)
	})
}

func TestCancelOfAJobThatIsOverFetchesItsResult(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate":   {`202 {"job_id":"1"}`},
		"GET /reports/status/1":    {`200 {"status":"running"}`, `200 {"status":"done"}`},
		"DELETE /reports/status/1": {"409 over"},
		"GET /reports/files/1":     {`200 {"error":"no rows"}`},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.advance(time.Second)
		in, err := et.cancel(id)
		require.NoError(t, err)
		require.Equal(t, intent.Failed, in.Status)
	}, scripted(b, func(s *adapter.Spec) {
		s.Result = &adapter.Result{Fetch: &adapter.Endpoint{Target: "/reports/files/{job_id}"}, FailedWhen: "has(body.error)"}
	}))
}

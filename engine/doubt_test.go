package engine_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
)

// These were found by the simulator, or on the way to it.

var errCutOff = errors.New("the store was cut off before it could answer")

func TestWhatIsNotStoredAsSentIsNotSentEither(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.store.onAppend(func() error { // the try is about to be marked
			<-time.After(time.Second)
			return store.ErrUnavailable
		})
		id := et.queue()
		et.engine.Stop()
		require.Zero(t, et.posts())
		et.restart()
		et.advance(time.Minute)
		require.Equal(t, 1, et.posts())
		require.Equal(t, intent.InProgress, et.get(id).Status)
	}, queued())
}

func TestASlowStoreMakesNoPollComeSooner(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.store.takes(3 * time.Second)
		et.advance(10 * time.Second)
		et.store.takes(0)
		et.advance(10 * time.Second)
		at := et.pollsAt(job)
		require.Greater(t, len(at), 4)
		for i := range at[1:] {
			require.GreaterOrEqual(t, at[i+1]-at[i], 2*time.Second, "%v", at)
		}
	}, func(j *engine.Job, _ *adapter.Spec) { j.Pace.Jitter = 0 })
}

func TestATryThatHangsEndsWithTheDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Hang, legacytest.Always)
		id := et.queue()
		et.advance(time.Minute + 10*time.Second)
		require.Equal(t, intent.CodeSubmitUncertain, et.why(id).Code)
		require.Equal(t, time.Minute, et.get(id).Updated.Sub(et.get(id).Created))
	}, queued(), func(j *engine.Job, _ *adapter.Spec) { j.Deadline = time.Minute })
}

func TestAnIntentOfWhichTheStoreDidNotSayThatItHasItIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.store.loses(errCutOff)
		id, job := et.submit()
		et.store.loses(nil)
		et.backend.Finishes(job)
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAQueuedSubmitThatWasRefusedIsNotDeliveredLater(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		var first atomic.Bool
		et.store.onAppend(func() error {
			if first.CompareAndSwap(false, true) {
				return store.ErrUnavailable
			}
			return nil
		})
		_, err := et.postKey("k", `{}`)
		require.ErrorIs(t, err, engine.ErrNotAccepted)
		et.advance(time.Hour)
		require.Zero(t, et.posts())
		_, err = et.postKey("k", `{}`)
		require.NoError(t, err, "the key is free")
		et.advance(time.Minute)
		require.Equal(t, 1, et.posts())
	}, queued())
}

func TestAKeyStaysWhenTheAnswerBreaksOff(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			legacytest.AnswerInPart(w, r, well)
		}, 1)
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { _, _ = et.postKey("k", `{}`) })
		_, err := et.postKey("k", `{}`)
		require.ErrorIs(t, err, engine.ErrKeyUncertain)
		require.Equal(t, 1, et.posts())
	})
}

func TestAPollThatACancelAskedForCountsAsOne(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(time.Second)
		et.backend.Meets(legacytest.Cancels, legacytest.Code(409, ""), 1)
		et.advance(9 * time.Second)
		_, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.ErrorIs(t, err, engine.ErrOver)
		asked := len(et.pollsAt(job))
		et.advance(1900 * time.Millisecond)
		require.Len(t, et.pollsAt(job), asked)
		et.advance(time.Minute)
		require.Greater(t, len(et.pollsAt(job)), asked)
	})
}

func TestARetryThatIsPutOffDoesNotUndoTheFirstTry(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.AnswerLost, 1)
		id := et.queue()
		et.backend.Meets(legacytest.Submits, legacytest.Code(503, "60"), legacytest.Always)
		et.advance(10 * time.Second)
		require.Equal(t, 2, et.posts())
		_, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.NoError(t, err)
		events := et.events(id)
		require.Equal(t, "unknown", events[len(events)-1].Details.Backend, "the first try made a job")
	}, queued(onUncertain(engine.UncertainResubmits)))
}

func TestARefusalOfARepeatSaysNothingOfTheFirstTry(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.AnswerLost, 1)
		id := et.queue()
		et.backend.Meets(legacytest.Submits, legacytest.Code(422, ""), legacytest.Always)
		et.advance(time.Minute)
		require.Equal(t, intent.CodeSubmitUncertain, et.why(id).Code)
		require.Contains(t, et.why(id).Message, "422")
	}, queued(onUncertain(engine.UncertainResubmits)))
}

func TestADeliveryWithoutABodyIsNotRepeatedByTheTransport(t *testing.T) {
	var length int64
	inBubble(t, func(t *testing.T, et *tester) {
		et.queue(func(r *http.Request) {
			r.Body = http.NoBody
			r.Header.Set("Idempotency-Key", "k")
		})
		require.EqualValues(t, -1, length)
	}, queued(), func(j *engine.Job, _ *adapter.Spec) {
		inner := j.Backend.Transport
		j.Backend.Transport = sends(func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPost {
				length = r.ContentLength
			}
			return inner.Send(w, r)
		})
	})
}

func TestAQueuedSubmitOfWhichTheStoreSaysNothingIsNotCalledRefused(t *testing.T) {
	cases := map[string]struct {
		then  func(et *tester)
		posts int
	}{
		"it is taken back":          {func(et *tester) { et.advance(3 * time.Second) }, 0},
		"a stop comes first":        {func(et *tester) { et.engine.Stop(); et.restart() }, 0},
		"a kill comes, and it goes": {func(et *tester) { et.store.dies(); et.restart() }, 1}, // nobody is left who knows
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				et.store.losesAll(errCutOff)
				_, err := et.tryPost()
				require.ErrorIs(t, err, engine.ErrInDoubt)
				require.NotErrorIs(t, err, engine.ErrNotAccepted)
				et.store.losesAll(nil)
				c.then(et)
				et.advance(time.Hour)
				require.Equal(t, c.posts, et.posts())
			}, queued())
		})
	}
}

func TestAStoreThatTakesNothingLeavesNoDoubt(t *testing.T) {
	for _, failure := range []error{store.ErrFull, store.ErrUnavailable} {
		inBubble(t, func(t *testing.T, et *tester) {
			et.store.fails(failure)
			_, err := et.tryPost()
			require.ErrorIs(t, err, engine.ErrNotAccepted)
			et.store.fails(nil)
			et.restart()
			et.advance(time.Hour)
			require.Zero(t, et.posts())
		}, queued())
	}
}

func TestARepeatLearnsWhatBecameOfASubmitInDoubt(t *testing.T) {
	for name, c := range map[string]struct{ stored, kill bool }{
		"the store has it":                   {stored: true},
		"the store has it, and a kill comes": {stored: true, kill: true},
		"the store does not have it":         {},
		"the store does not, and a kill":     {kill: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				et.store.onAppend(func() error {
					if c.stored {
						et.store.losesAll(errCutOff)
						return nil
					}
					return errCutOff
				})
				_, err := et.postKey("k", `{}`)
				require.ErrorIs(t, err, engine.ErrInDoubt)
				et.store.onAppend(nil)
				et.store.losesAll(nil)
				if c.kill {
					et.restart()
				}
				begun := time.Now()
				w, err := et.postKey("k", `{}`)
				require.NoError(t, err)
				require.Equal(t, http.StatusAccepted, w.Code)
				require.Less(t, time.Since(begun), time.Second, "it is not kept waiting for the next look at what is due")
				require.Equal(t, c.stored, w.Header().Get("Idempotency-Replayed") != "")
				et.advance(time.Minute)
				require.Equal(t, 1, et.posts())
				id, err := intent.ParseID(w.Header().Get("Intent-Id"))
				require.NoError(t, err)
				require.Equal(t, intent.InProgress, et.get(id).Status)
				et.advance(time.Hour)
				require.Equal(t, 1, et.posts())
			}, queued())
		})
	}
}

func TestACancelWaitsNoLongerThanItMayForAStoreThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Second), 1)
		id := et.queue()
		et.store.onAppend(func() error { return store.ErrUnavailable })
		et.advance(2 * time.Second) // what the backend has said is still to be stored
		release := make(chan struct{})
		et.store.onAppend(func() error { <-release; return store.ErrUnavailable })
		et.advance(31 * time.Second) // and is tried again
		begun := time.Now()
		_, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.Equal(t, 5*time.Second, time.Since(begun))
		et.store.onAppend(nil)
		close(release)
		et.advance(time.Minute)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		require.Equal(t, 1, et.posts())
	}, queued())
}

package engine_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// flooded answers well, under a head of so many short lines.
func flooded(lines int) legacytest.Fault {
	return func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
		for i := range lines {
			w.Header().Set(fmt.Sprintf("X%d", i), "")
		}
		well(w, r)
	}
}

func TestAHeadTooLargeToBeKeptIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "running", 1)
		et.engine.Look(id)
		et.advance(4 * time.Second)
		require.NotNil(t, et.engine.Look(id).Answer)
		et.backend.Meets(legacytest.Polls, flooded(engine.MaxKept/100), legacytest.Always)
		et.advance(4 * time.Second)
		require.Nil(t, et.engine.Look(id).Answer)
		require.Equal(t, "IN_PROGRESS", string(et.get(id).Status))
	})
}

func TestAHeadTooLargeToBeReplayedIsNotStored(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, flooded(engine.MaxKept/100), 1)
		first, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Greater(t, len(first.Header()), engine.MaxKept/100)
		again, err := et.postKey("k", `{}`)
		require.NoError(t, err)
		require.Contains(t, again.Body.String(), `{"presented":`)
		require.Less(t, len(again.Header()), 10)
		require.Equal(t, 1, et.posts())
	})
}

// A proxy whose backend answers with 101 writes nothing.
func TestAHandlerThatWritesNothingEndsNoJob(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.backend.Meets(legacytest.Polls, func(http.ResponseWriter, *http.Request, http.HandlerFunc) {}, legacytest.Always)
		et.advance(time.Hour)
		in := et.get(id)
		require.Equal(t, "backend", in.Waiting, "%s", in.Status)
	})
}

func TestAFloodOfHintsEndsTheSubmit(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		hints := 0
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
			for ; r.Context().Err() == nil; hints++ {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}, 1)
		_, err := et.tryPost()
		require.ErrorIs(t, err, engine.ErrOnlyHints)
		require.Equal(t, 1001, hints)
		et.submit()
	})
}

func TestAnAnswerWithoutAnEndKeepsNobodyWhoGetsTheIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			w.Header().Set("Location", "/reports/status/job-1")
			w.WriteHeader(http.StatusAccepted)
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					panic(http.ErrAbortHandler)
				}
			}
		}, 1)
		w, err := et.tryPost()
		require.NoError(t, err)
		require.Contains(t, w.Body.String(), "presented")
	}, respond(engine.RespondIntent))
}

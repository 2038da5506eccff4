package engine_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

func TestJobIsFollowedToItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.wantEvents(id, "created submitted delivered in_progress") // the 202 says pending
		et.backend.Says(job, "running", 40)
		et.advance(time.Second)
		et.wantEvents(id, "created submitted delivered in_progress in_progress")
		et.backend.Finishes(job)
		et.advance(time.Minute)
		et.wantEvents(id, "created submitted delivered in_progress in_progress completed")
		last := et.events(id)[5]
		require.Equal(t, intent.Completed, last.Status)
		require.InDelta(t, 40, *last.Details.Progress, 0)
		require.JSONEq(t, `{"job_id":"job-1","status":"done","url":"/reports/files/job-1.pdf"}`, string(last.Details.Result))
		polls := et.backend.Polls(job)
		et.advance(time.Hour)
		require.Equal(t, polls, et.backend.Polls(job), "an intent that has ended is polled no more")
	})
}

func TestFailedJobTellsTheBackendsReason(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Fails(job, "disk quota exceeded")
		et.advance(time.Second)
		in := et.get(id)
		require.Equal(t, intent.Failed, in.Status)
		require.Equal(t, "disk quota exceeded", in.Error.Message)
		require.Equal(t, intent.ByBackend, in.Error.Category)
	})
}

func TestWatchedJobIsPolledEveryInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(9 * time.Second)
		require.Equal(t, []time.Duration{500 * time.Millisecond, 2500 * time.Millisecond, 4500 * time.Millisecond,
			6500 * time.Millisecond, 8500 * time.Millisecond}, et.pollsAt(job))
	})
}

func TestUnwatchedJobIsPolledMoreAndMoreRarely(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		_, job := et.submit()
		et.advance(time.Hour)
		at := et.pollsAt(job)
		require.Less(t, len(at), 3600/2/5, "a fifth of polling every 2 seconds")
		for i := 1; i < len(at); i++ {
			require.GreaterOrEqual(t, at[i]-at[i-1], 2*time.Second)
			require.LessOrEqual(t, at[i]-at[i-1], 36*time.Second, "max_interval and jitter")
		}
	})
}

func TestFirstWatcherPullsTheNextPollForward(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.advance(10 * time.Minute)
		before := len(et.pollsAt(job))
		et.advance(3 * time.Second) // more than the plain interval after the last poll, or soon to be
		et.watch(id, time.Minute)
		et.advance(2 * time.Second)
		at := et.pollsAt(job)
		require.Greater(t, len(at), before)
		last := at[len(at)-1]
		require.LessOrEqual(t, 10*time.Minute+5*time.Second-last, 2*time.Second)
	})
}

func TestRetryAfterIsKeptToEvenWhileWatched(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.backend.Meets(legacytest.Polls, legacytest.Code(503, "60"), 1)
		et.advance(60 * time.Second)
		require.Len(t, et.pollsAt(job), 1)
		et.advance(2 * time.Second)
		require.Len(t, et.pollsAt(job), 2)
	})
}

func TestAnOutageFailsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		et.advance(6 * time.Hour)
		in := et.get(id)
		require.Equal(t, intent.InProgress, in.Status)
		require.Equal(t, "backend", in.Waiting)
		polled, ok := et.engine.Polling(id)
		require.True(t, ok)
		require.Greater(t, polled.Failures, 100)
		require.True(t, polled.Next.After(time.Now()))
		require.Equal(t, bubbleStart.Add(500*time.Millisecond), polled.Failing.Round(0).UTC())
		et.backend.Recovers()
		et.backend.Finishes(job)
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(id).Status)
		require.Empty(t, et.get(id).Waiting)
	})
}

func TestUnreadableAnswersEndTheIntentAfterGiveUp(t *testing.T) {
	for name, fault := range map[string]legacytest.Fault{
		"HTML":       legacytest.HTML,
		"truncated":  legacytest.Truncated,
		"broken off": legacytest.BrokenOff,
		"endless":    legacytest.Endless,
		"400":        legacytest.Code(400, ""),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				id, job := et.submit()
				et.backend.Says(job, "running", 10)
				et.backend.Meets(legacytest.Polls, fault, legacytest.Always)
				et.advance(9 * time.Minute)
				require.Equal(t, intent.InProgress, et.get(id).Status)
				et.advance(3 * time.Minute)
				in := et.get(id)
				require.Equal(t, intent.Failed, in.Status)
				require.Equal(t, intent.CodeUnreadable, in.Error.Code)
				require.Equal(t, intent.ByProtocol, in.Error.Category)
			})
		})
	}
}

func TestTheGiveUpClockStandsWhileTheBackendIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.HTML, legacytest.Always)
		et.advance(5 * time.Minute)
		et.backend.Meets(legacytest.Polls, legacytest.Code(502, ""), legacytest.Always)
		et.advance(2 * time.Hour)
		et.backend.Meets(legacytest.Polls, legacytest.HTML, legacytest.Always)
		et.advance(4 * time.Minute)
		require.Equal(t, intent.InProgress, et.get(id).Status, "9 minutes of 10")
		et.backend.Recovers()
		et.backend.Finishes(job)
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAJobThatIsGoneIsCalledLost(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Forgets(job)
		et.advance(12 * time.Minute)
		et.wantLost(id, "404")
	})
}

func TestAHangingBackendIsLeftAfterTheTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.Hang, 1)
		et.backend.Finishes(job)
		et.advance(10 * time.Second) // first poll at 0.5 s, hanging until 10.5 s
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAnUnknownWordIsToldOnceWithTheLineToAdd(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "archived", 0)
		et.advance(time.Minute)
		in := et.get(id)
		require.Equal(t, intent.InProgress, in.Status)
		require.Equal(t, "archived", in.UnknownState)
		lines := et.log.with("does not map")
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], "archived")
	})
}

func TestWhenTheBackendLastSaidSomethingNewIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "running", 10)
		et.advance(time.Minute)
		first := et.get(id).Moved
		require.WithinRange(t, first, bubbleStart, bubbleStart.Add(time.Second))
		et.backend.Meets(legacytest.Polls, legacytest.Reset, 5)
		et.advance(10 * time.Minute)
		et.restart()
		et.advance(10 * time.Minute)
		require.Equal(t, first, et.get(id).Moved, "an answer that says the same is nothing new, and neither is none")
		et.backend.Says(job, "running", 20)
		et.advance(time.Minute)
		require.Greater(t, et.get(id).Moved.Sub(first), 20*time.Minute)
	})
}

func TestDeadlineEndsTheIntentAndLeavesTheJob(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "running", 10)
		et.advance(2*time.Hour + time.Second)
		in := et.get(id)
		require.Equal(t, intent.TimedOut, in.Status)
		require.Equal(t, intent.CodeDeadline, in.Error.Code)
		require.Empty(t, et.backend.AskedFor("DELETE", "/reports/status/"+job))
	}, func(j *engine.Job, _ *adapter.Spec) { j.Deadline = 2 * time.Hour })
}

func cancelAfterTwoHours(j *engine.Job, _ *adapter.Spec) {
	j.Deadline = 2 * time.Hour
	j.CancelAtDeadline = true
}

func TestDeadlineCancelsTheJobAfterOneLastPoll(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "running", 10)
		et.advance(2*time.Hour + time.Second)
		require.Equal(t, intent.TimedOut, et.get(id).Status)
		require.Len(t, et.backend.AskedFor("DELETE", "/reports/status/"+job), 1)
		at := et.pollsAt(job)
		require.Equal(t, 2*time.Hour, at[len(at)-1])
		events := et.events(id)
		require.Equal(t, "accepted", events[len(events)-1].Details.Backend)
	}, cancelAfterTwoHours)
}

func TestDeadlineDoesNotCancelAJobThatIsDone(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "running", 10)
		et.advance(2*time.Hour - time.Millisecond)
		et.backend.Finishes(job)
		et.advance(time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
		require.Empty(t, et.backend.AskedFor("DELETE", "/reports/status/"+job))
	}, cancelAfterTwoHours)
}

func TestDeadlineDoesNotCancelAfterAnUnknownWord(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Says(job, "archived", 10)
		et.advance(2*time.Hour + time.Second)
		require.Equal(t, intent.TimedOut, et.get(id).Status)
		require.Empty(t, et.backend.AskedFor("DELETE", "/reports/status/"+job))
	}, cancelAfterTwoHours)
}

func TestADayOfPollingInVirtualTime(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, 25*time.Hour)
		for hour := range 23 {
			et.backend.Says(job, "running", hour*4)
			et.advance(time.Hour)
		}
		et.backend.Finishes(job)
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(id).Status)
		require.LessOrEqual(t, len(et.events(id)), intent.MaxEvents)
		require.InDelta(t, 23*1800, et.backend.Polls(job), 5)
	})
}

func TestAFullStoreLosesNoEvent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.store.fails(errDisk)
		et.backend.Finishes(job)
		et.advance(10 * time.Minute)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.store.fails(nil)
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestAPollCarriesWhatTheConfigSaysAndNothingElse(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		_, job := et.submit()
		et.advance(time.Second)
		asked := et.backend.AskedFor("GET", "/reports/status/"+job)
		require.Len(t, asked, 1)
		require.Equal(t, "example.com", asked[0].Host)
		require.Equal(t, map[string][]string{
			"User-Agent":    {"caddy-intents"},
			"Authorization": {"Bearer t0ken"},
		}, map[string][]string(asked[0].Header))
	}, func(_ *engine.Job, s *adapter.Spec) {
		s.Status.Header = map[string][]string{"Authorization": {"Bearer t0ken"}}
	})
}

func TestRetentionRemovesAnEndedIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.backend.Finishes(job)
		et.advance(24 * time.Hour)
		require.Equal(t, intent.Completed, et.get(id).Status)
		et.advance(time.Minute)
		_, err := et.store.Get(t.Context(), id)
		require.Error(t, err)
	})
}

func TestAFullStoreDoesNotMakeUsHammerTheBackend(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.backend.Meets(legacytest.Polls, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			w.Header().Set("Retry-After", "50")
			well(w, r)
		}, legacytest.Always)
		et.backend.Says(job, "running", 10)
		et.store.fails(errDisk)
		et.advance(10 * time.Minute)
		at := et.pollsAt(job)
		require.Greater(t, len(at), 5)
		for i := 1; i < len(at); i++ {
			require.GreaterOrEqual(t, at[i]-at[i-1], 50*time.Second)
		}
		require.Len(t, et.log.with("does not take what polls bring"), 1)
	}, func(j *engine.Job, _ *adapter.Spec) { j.Pace.Interval = 20 * time.Second })
}

func TestUnreadableAnswersAreToldWhileTheyLast(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.backend.Meets(legacytest.Polls, legacytest.HTML, legacytest.Always)
		et.advance(time.Minute)
		require.Equal(t, "unreadable", et.get(id).Waiting)
		require.Len(t, et.log.with("cannot be read"), 1)
		et.backend.Recovers()
		et.advance(time.Minute)
		require.Empty(t, et.get(id).Waiting)
	})
}

func TestRetryAfterIsKeptToOverARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Code(429, "300"), legacytest.Always)
		_, job := et.submit()
		et.advance(time.Second)
		polls := len(et.pollsAt(job))
		et.restart()
		et.advance(4 * time.Minute)
		require.Len(t, et.pollsAt(job), polls)
		et.advance(time.Minute + 10*time.Second)
		require.Len(t, et.pollsAt(job), polls+1)
	})
}

package observe

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

func TestStreamShowsTheLifeOfAnIntentAsItHappens(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream()).opens()
		obs.wantEvent("intent.created")
		obs.wantEvent("intent.submitted")
		e := obs.wantEvent("intent.delivered")
		require.Equal(t, "job-1", e.Details["job_id"])
		obs.wantNothing()

		job.says("reading rows")
		e = obs.wantEvent("intent.in_progress")
		require.Equal(t, wireEvent{
			IntentID: job.in.ID.String(), Seq: 4, Type: "intent.in_progress", Status: "IN_PROGRESS",
			Details: map[string]any{"message": "reading rows"},
		}, e)
		require.Equal(t, "4", obs.last.ID)
		obs.wantNothing()

		job.completes(`{"url":"/report.pdf"}`)
		obs.wantRetry(24*time.Hour, 24*time.Hour)
		e = obs.wantEvent("intent.completed")
		require.Equal(t, map[string]any{"url": "/report.pdf"}, e.Details["result"])
		obs.wantEnd()
		tt.wantEnds(EndDone)
	})
}

func TestStreamHeadIsFlushedBeforeAnythingIsRead(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream())
		require.Equal(t, http.Header{
			"Content-Type":      {"text/event-stream"},
			"Cache-Control":     {"no-store, no-transform"},
			"X-Accel-Buffering": {"no"},
			"Vary":              {"Accept"},
		}, obs.conn.header)
		require.Regexp(t, `^retry: \d+\n$`, obs.conn.writes[0])
		require.Equal(t, "flush", obs.conn.writes[1])
		obs.leave()
	})
}

func TestTerminalEventComesInOneWriteWithItsRetry(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job)
		job.says("running")
		obs.wantSeqs(4, 4)
		job.completes(`{}`)
		synctest.Wait()
		writes := obs.conn.writes
		require.Equal(t, "flush", writes[len(writes)-1])
		require.Regexp(t, `(?s)^retry: 86400000\nid: 5\nevent: intent.completed\ndata: \{.*\}\n\n$`, writes[len(writes)-2])
		obs.next()
		obs.wantSeqs(5, 5)
		obs.wantEnd()
	})
}

func TestEveryObserverSeesTheSameWheneverItComes(t *testing.T) {
	for seed := range uint64(20) {
		run(t, func(t *testing.T, tt *tester) {
			dice := rand.New(rand.NewPCG(seed, 0))
			job := tt.begins()
			type joined struct {
				*observer
				since int64
			}
			var all []joined
			for n := range 40 {
				if dice.IntN(2) == 0 {
					since := dice.Int64N(job.in.Seq + 1)
					all = append(all, joined{tt.observes(fmt.Sprintf("%s?heartbeat=60&since=%d", job.stream(), since)), since})
				}
				tt.store.set(func() { tt.store.deaf = dice.IntN(3) == 0 })
				job.says(strconv.Itoa(n))
				tt.passes(time.Second + time.Duration(dice.IntN(3000))*time.Millisecond)
			}
			job.completes(`{}`)
			tt.passes(store.CheckInterval)
			for _, obs := range all {
				obs.opens()
				for seq := obs.since + 1; seq <= job.in.Seq; {
					if strings.HasPrefix(obs.conn.received.String(), ":") {
						obs.wantHeartbeat()
						continue
					}
					obs.wantSeqs(seq, seq)
					seq++
				}
				obs.wantEnd()
			}
		})
	}
}

func TestALongHistoryComesInFewWrites(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		for n := range 50 {
			word := strings.Repeat("x", intent.MaxMessage-3) + strconv.Itoa(100+n)
			job.reads(intent.Reading{Status: intent.InProgress, Message: word, UnknownState: word})
			tt.passes(time.Second)
		}
		obs := tt.observes(job.stream())
		require.LessOrEqual(t, len(obs.conn.writes), 12)
		for _, w := range obs.conn.writes {
			require.Less(t, len(w), 2*MaxFrame)
		}
		obs.opens().wantSeqs(1, 53)
		obs.wantNothing()
	})
}

func TestAStoreThatKnowsThatRingsGotLostHasAllLook(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job, other := tt.begins(), tt.begins()
		obs, others := tt.observes(job.stream()+"?heartbeat=60").opens(), tt.observes(other.stream()+"?heartbeat=60").opens()
		obs.wantSeqs(1, 3)
		others.wantSeqs(1, 3)
		tt.store.set(func() { tt.store.deaf = true })
		job.says("nobody hears this")
		obs.wantNothing()
		tt.hub.hear(store.Signal{Kind: store.Missed})
		obs.wantSeqs(4, 4)
		others.wantNothing()
		obs.leave()
		others.leave()
	})
}

func TestARingThatGotLostIsMadeUpForByTheCheck(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job, "?heartbeat=60")

		tt.store.set(func() { tt.store.deaf = true })
		job.says("nobody hears this")
		tt.passes(store.CheckInterval - time.Millisecond)
		obs.wantNothing()
		tt.passes(time.Millisecond)
		obs.wantSeqs(4, 4)
		obs.leave()
	})
}

func TestHeartbeatComesWhenNothingElseDoes(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job)

		tt.passes(4*time.Second - time.Millisecond)
		obs.wantNothing()
		tt.passes(time.Millisecond)
		obs.wantHeartbeat()
		obs.wantNothing()

		// An event is a sign of life too.
		tt.passes(3 * time.Second)
		job.says("running")
		obs.wantSeqs(4, 4)
		tt.passes(3 * time.Second)
		obs.wantNothing()
		tt.passes(time.Second)
		obs.wantHeartbeat()
		obs.leave()
	})
}

func TestClientChoosesItsHeartbeat(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job, "?heartbeat=1")
		tt.passes(3 * time.Second)
		for range 3 {
			obs.wantHeartbeat()
		}
		obs.wantNothing()
		obs.leave()
	})
}

func TestWaitSecondsEndsTheStreamCleanlyAndOnTime(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job, "?wait_seconds=2")
		tt.passes(2*time.Second - time.Millisecond)
		obs.wantNothing()
		tt.passes(time.Millisecond)
		token := obs.next()
		require.Equal(t, "event: stream.timeout\ndata: {\"ok\":true,\"next_seq\":4}\n\n", token)
		obs.wantEnd()
		tt.wantEnds(EndTimeout)
	})
}

func TestWaitSecondsEndsAtTheTerminalEvent(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.runsThrough()
		obs := tt.observes(job.stream() + "?wait_seconds=60&since=5").opens()
		obs.wantSeqs(6, 7)
		obs.wantEnd()
	})
}

func TestWaitSecondsHoldsAClientThatHasSeenTheEnd(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.runsThrough()
		obs := tt.observes(job.stream() + "?wait_seconds=3&since=7").opens()
		tt.passes(3*time.Second - time.Millisecond)
		obs.wantNothing()
		tt.passes(time.Millisecond)
		require.EqualValues(t, 8, obs.wantEvent("stream.timeout").NextSeq)
		obs.wantEnd()
	})
}

func TestABacklogIsSentInPiecesThatOneReaderCanHold(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		reads := countReads(tt)
		job := tt.begins()
		for i := range 150 {
			tt.passes(time.Minute)
			if next, events := job.in.Apply(intent.Reading{Status: intent.InProgress, Message: fmt.Sprint(i, strings.Repeat("m", intent.MaxMessage))}, time.Now()); len(events) > 0 {
				job.stores(next, events)
			}
		}
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(1, job.in.Seq)
		require.Greater(t, job.in.Seq, int64(80))
		sent := 0
		for _, w := range obs.conn.writes {
			require.Less(t, len(w), 2*MaxFrame)
			sent += len(w)
		}
		require.Greater(t, sent, 2*MaxFrame)
		require.Greater(t, reads.made.Load(), int64(1), "what does not fit is not kept but read again")
		obs.leave()
	})
}

func TestPollingIsToldThatAnIntentIsWatchedOnceForAllObservers(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		start := time.Now()
		var all []*observer
		for range 20 {
			all = append(all, tt.observes(job.stream()+"?heartbeat=60"))
		}
		require.Equal(t, []time.Time{start.Add(watchWindow)}, tt.store.told())
		for range 8 {
			tt.passes(store.CheckInterval)
			told := tt.store.told()
			require.Greater(t, time.Until(told[len(told)-1]), store.CheckInterval, "one refresh may get lost")
		}
		require.Len(t, tt.store.told(), 9)
		for range 20 { // looks that put checks off tell no later
			tt.passes(7 * time.Second)
			job.says(time.Now().String())
			tt.passes(0)
			told := tt.store.told()
			require.Greater(t, time.Until(told[len(told)-1]), store.CheckInterval)
		}
		for _, obs := range all {
			obs.leave()
		}
	})
}

func TestOnlySoManyObserversAreSeated(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Limits: Limits{All: 2}})
		job, other := tt.begins(), tt.begins()
		first := tt.observes(job.stream()).opens()
		second := tt.observes(other.stream()).opens()

		w := tt.get(job.stream())
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "too_many_observers", problemCode(t, w))
		require.NotEmpty(t, w.Header().Get("Retry-After"))

		first.leave()
		synctest.Wait()
		third := tt.observes(job.stream()).opens()
		second.leave()
		third.leave()
	})
}

func TestHeadNeverStreams(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		w := tt.asks(http.MethodHead, job.stream())
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
		require.Empty(t, w.Body.Bytes())
	})
}

func TestStreamsAreRefusedBeforeTheyBegin(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		for _, query := range []string{
			"since=x", "since=-1", "since=", "since=1.5", "since=9223372036854775808", "since=+1",
			"heartbeat=0", "heartbeat=61", "heartbeat=4s", "heartbeat=",
			"wait_seconds=0", "wait_seconds=61", "wait_seconds=x",
		} {
			w := tt.get(job.stream() + "?" + query)
			require.Equal(t, http.StatusBadRequest, w.Code, query)
			require.Equal(t, "invalid_request", problemCode(t, w), query)
		}
	})
}

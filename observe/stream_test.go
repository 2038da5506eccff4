package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
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
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(1, 3)
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

func TestEveryCursorGivesTheExactRest(t *testing.T) {
	const last = 7
	run(t, func(t *testing.T, tt *tester) {
		job := tt.runsThrough()
		require.EqualValues(t, last, job.in.Seq)
		for n := range int64(last) {
			at := strconv.FormatInt(n, 10)
			for _, obs := range []*observer{
				tt.observes(job.stream() + "?since=" + at),
				tt.observes(job.stream(), "Last-Event-ID", at),
				tt.observes(job.stream()+"?since=0", "Last-Event-ID", at),
				tt.observes(job.stream()+"?since="+at, "Last-Event-ID", "0"),
				tt.observes(job.stream()+"?since="+at, "Last-Event-ID", "3b241101-e2bb-4255-8caf-4136c566a962"),
				tt.observes(job.path()+"/events?since="+at, "Accept", "text/event-stream"),
			} {
				obs.opens().wantSeqs(n+1, last)
				obs.wantEnd()
			}
		}
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

func TestCursorsInALaterGeneration(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins(func(in *intent.Intent) { in.Generation = 2 })
		for name, cursor := range map[string]struct{ query, header string }{
			"seq of the current generation": {"?since=1", ""},
			"event id in the query":         {"?since=2049", ""},
			"event id in the header":        {"", "2049"},
			"seq of ours over an old id":    {"?since=1", "5"},
		} {
			obs := tt.observes(job.stream()+cursor.query, "Last-Event-ID", cursor.header).opens()
			obs.wantSeqs(2050, 2051)
			obs.wantNothing()
			obs.leave()
			require.EqualValues(t, 3, job.in.Seq, name)
		}
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(2049, 2051)
		obs.leave()
	})
}

func TestACursorOfNoUseIsResetToASnapshot(t *testing.T) {
	for name, header := range map[string]string{
		"of an older generation": "3",
		"just past the end":      "1029",
		"past the end":           "1030",
		"of a later generation":  "2049",
		"far past the end":       "9223372036854775807",
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, tt *tester) {
				job := tt.begins(func(in *intent.Intent) { in.Generation = 1 })
				job.says("running")
				obs := tt.observes(job.stream(), "Last-Event-ID", header).opens()
				e := obs.wantEvent("intent.reset")
				require.Equal(t, wireEvent{
					IntentID: job.in.ID.String(), Seq: 4, Type: "intent.reset", Status: "IN_PROGRESS",
					Details: map[string]any{"job_id": "job-1", "message": "running"},
				}, e)
				require.Equal(t, "1028", obs.last.ID)

				// From there it goes on as usual.
				tt.passes(time.Second)
				job.says("still running")
				obs.wantSeqs(1029, 1029)
				tt.passes(time.Second)
				job.says("nearly there")
				obs.wantSeqs(1030, 1030)
				job.completes(`{}`)
				obs.wantSeqs(1031, 1031)
				obs.wantEnd()
			})
		})
	}
}

func TestResetOfAnEndedIntentEndsTheStream(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.runsThrough()
		obs := tt.observes(job.stream() + "?since=8").opens()
		obs.wantRetry(24*time.Hour, 24*time.Hour)
		e := obs.wantEvent("intent.reset")
		require.Equal(t, "COMPLETED", e.Status)
		require.Equal(t, map[string]any{"url": "/report.pdf"}, e.Details["result"])
		obs.wantEnd()
		require.Equal(t, http.StatusNoContent, tt.get(job.stream(), "Last-Event-ID", obs.last.ID).Code)
	})
}

func TestAStreamIsResetWhenTheStoreLosesItsTailUnderIt(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(1, 3)

		job.in.Generation = 1
		job.says("running")
		e := obs.wantEvent("intent.reset")
		require.Equal(t, "IN_PROGRESS", e.Status)
		require.Equal(t, "1028", obs.last.ID)
		job.completes(`{}`)
		obs.wantSeqs(1029, 1029)
		obs.wantEnd()
	})
}

func TestWhoHasSeenTheEndIsAnswered204(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.runsThrough()
		for _, w := range []int{
			tt.get(job.stream(), "Last-Event-ID", "7").Code,
			tt.get(job.stream() + "?since=7").Code,
			tt.get(job.path()+"/events?since=7", "Accept", "text/event-stream").Code,
			tt.asks(http.MethodHead, job.stream()+"?since=7").Code,
		} {
			require.Equal(t, http.StatusNoContent, w)
		}
		require.Empty(t, tt.get(job.stream()+"?since=7").Body.Bytes())
	})
}

func TestARingThatGotLostIsMadeUpForByTheCheck(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream() + "?heartbeat=60").opens()
		obs.wantSeqs(1, 3)

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
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(1, 3)

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
		obs := tt.observes(job.stream() + "?heartbeat=1").opens()
		obs.wantSeqs(1, 3)
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
		obs := tt.observes(job.stream() + "?wait_seconds=2").opens()
		obs.wantSeqs(1, 3)
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

func TestDrainCutsEveryStreamAndLetsNoneBegin(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		waiting := tt.observes(job.stream() + "?wait_seconds=60").opens()
		obs := tt.observes(job.stream()).opens()
		tt.hub.Drain(errors.New("the process is going away"))
		for _, o := range []*observer{waiting, obs} {
			o.wantSeqs(1, 3)
			o.wantRetry(500*time.Millisecond, 5*time.Second)
			o.wantCut()
		}

		w := tt.get(job.stream())
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.Equal(t, "draining", problemCode(t, w))
		require.Equal(t, http.StatusOK, tt.get(job.path()).Code, "what is no stream is still served")
	})
}

func TestAStreamIsCutAtItsAge(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream() + "?heartbeat=60").opens()
		obs.wantSeqs(1, 3)
		tt.passes(9*time.Minute - time.Millisecond)
		for range 8 {
			obs.wantHeartbeat()
		}
		obs.wantNothing()
		tt.passes(2 * time.Minute)
		for obs.conn.received.String()[0] == ':' {
			obs.wantHeartbeat()
		}
		obs.wantRetry(500*time.Millisecond, 5*time.Second)
		obs.wantCut()
		tt.wantEnds(EndAge)
	})
}

func TestAReaderThatStopsHoldsUpNobodyAndIsCut(t *testing.T) {
	for proto, timeout := range map[string]error{
		"HTTP/1.1": fmt.Errorf("write tcp: %w", os.ErrDeadlineExceeded),
		"HTTP/2":   errors.New("http2: stream closed"),
	} {
		t.Run(proto, func(t *testing.T) {
			run(t, func(t *testing.T, tt *tester) {
				job := tt.begins()
				slow := tt.observes(job.stream()).opens()
				slow.wantSeqs(1, 3)
				slow.conn.wantNoDeadline(t)
				obs := tt.observes(job.stream()).opens()
				obs.wantSeqs(1, 3)

				slow.conn.stops(timeout)
				job.says("running")
				obs.wantSeqs(4, 4)
				tt.passes(2 * time.Second)
				job.says("still running")
				obs.wantSeqs(5, 5)
				slow.wantOpen()

				tt.passes(writeTimeout - 2*time.Second)
				slow.wantCut()
				tt.wantEnds(EndSlow)

				// It comes back for what it missed.
				again := tt.observes(job.stream(), "Last-Event-ID", slow.last.ID).opens()
				again.wantSeqs(4, 5)
			})
		})
	}
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

func TestAReaderThatStoppedDoesNotHoldUpADrain(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		slow := tt.observes(job.stream()).opens()
		slow.wantSeqs(1, 3)
		slow.conn.stops(os.ErrDeadlineExceeded)
		job.says("running")
		slow.wantOpen()

		start := time.Now()
		tt.hub.Close()
		require.LessOrEqual(t, time.Since(start), time.Second)
		slow.wantCut()
	})
}

func TestAClientThatLeavesIsForgottenAtOnce(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(1, 3)
		require.Equal(t, 1, tt.hub.Observers())
		obs.leave()
		obs.wantCut()
		require.Zero(t, tt.hub.Observers())
		tt.wantEnds(EndGone)
	})
}

func TestStreamsOutliveTheStoreBeingAway(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream() + "?heartbeat=60").opens()
		obs.wantSeqs(1, 3)
		tt.store.set(func() { tt.store.err = store.ErrUnavailable })
		job.says("running")
		obs.wantNothing()
		w := tt.get(job.stream())
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))

		tt.store.set(func() { tt.store.err = nil })
		tt.passes(store.CheckInterval)
		obs.wantSeqs(4, 4)
		obs.leave()
	})
}

func TestAnIntentThatIsRemovedUnderAStreamCutsIt(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream() + "?heartbeat=60").opens()
		obs.wantSeqs(1, 3)
		tt.store.set(func() { tt.store.err = store.ErrNotFound })
		tt.passes(store.CheckInterval)
		obs.wantRetry(500*time.Millisecond, 5*time.Second)
		obs.wantCut()
		require.Equal(t, http.StatusNotFound, tt.get(job.stream()).Code)
	})
}

func TestAReloadLeavesStreamsAlone(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(1, 3)
		tt.configure(Config{Heartbeat: time.Second})
		job.says("running")
		obs.wantSeqs(4, 4)
		tt.passes(3 * time.Second)
		obs.wantNothing()
		obs.leave()
	})
}

func TestAStreamDoesNotKeepTheConfigItBeganUnder(t *testing.T) {
	tt := newTester(t, Config{})
	released := make(chan struct{})
	runtime.AddCleanup(tt.server, func(done chan struct{}) { close(done) }, released)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.take().ServeHTTP(w, r) }))
	defer server.Close()
	receive(t, server, "HTTP/1.1", tt.begins().stream(), 3)
	defer tt.hub.Close()
	for range 10 {
		runtime.GC()
		select {
		case <-released:
			require.Equal(t, 1, tt.hub.Observers())
			return
		case <-time.After(100 * time.Millisecond): // cleanups run in a goroutine of their own
		}
	}
	require.Fail(t, "the server is still referred to")
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

func TestHostileWordsOfTheBackendStayInsideTheirEvent(t *testing.T) {
	const attack = "a\n\nevent: intent.completed\ndata: {}\r\rid: 9\u0085\u2028\u2029\x00\x7f\\\"</script>"
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream()).opens()
		obs.wantSeqs(1, 3)

		job.reads(intent.Reading{Status: intent.InProgress, Message: attack, UnknownState: attack})
		e := obs.wantEvent("intent.in_progress")
		require.Equal(t, attack, e.Details["message"])
		require.Equal(t, attack, e.Details["unknown_state"])

		result, err := json.Marshal(map[string]string{attack: attack})
		require.NoError(t, err)
		raw := "[\n" + string(result) + ",\r\n\"\u0085\u2028\u2029\"\n]"
		job.completes(raw)
		obs.next()
		e = obs.wantEvent("intent.completed")
		require.Equal(t, []any{map[string]any{attack: attack}, "\u0085\u2028\u2029"}, e.Details["result"])
		require.NotRegexp(t, "[\u0085\u2028\u2029\x00-\x1f\x7f]", obs.last.Data)
		obs.wantEnd()
	})
}

func TestNoFrameIsLongerThanItsBound(t *testing.T) {
	fill := func(unit string, n int) string { return strings.Repeat(unit, n/len(unit)) }
	for name, unit := range map[string]string{
		"plain": "x", "controls": "\x01", "delete": "\x7f", "next line": "\u0085", "line separator": "\u2028", "html": "<", "quote": `"`,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(fill(unit, intent.MaxResult-2))
			require.NoError(t, err)
			if unit == "\x7f" || unit == "\u0085" {
				text = []byte(`"` + fill(unit, intent.MaxResult-2) + `"`) // json.Marshal leaves them as they are
			}
			in := intent.Intent{ID: intent.NewID(time.Now(), 0)}
			event := intent.Event{IntentID: in.ID, Seq: 255, Type: intent.TypeCompleted, Status: intent.Completed, At: time.Now()}
			for _, d := range []intent.Details{
				{Message: fill(unit, intent.MaxMessage), UnknownState: fill(unit, intent.MaxMessage), Result: text},
				{Message: fill(unit, intent.MaxMessage), UnknownState: fill(unit, intent.MaxMessage),
					Error: &intent.Error{Code: fill(unit, 128), Message: fill(unit, intent.MaxError)}},
				{JobID: fill(unit, 64<<10), Error: &intent.Error{Code: fill(unit, 128), Message: fill(unit, intent.MaxError)}},
				{ResultURL: fill(unit, 64<<10)},
			} {
				event.Details = d
				frame := appendEvent(nil, event, label{id: strings.Repeat("9", 511), url: "/v1/intents/x"})
				require.LessOrEqual(t, len(frame), MaxFrame)
				f, err := sse.NewReader(strings.NewReader(string(frame))).Next()
				require.NoError(t, err)
				var got intent.Event
				require.NoError(t, json.Unmarshal([]byte(f.Data), &got))
				require.Equal(t, event.Seq, got.Seq)
				if d.Result != nil && got.Details.Result == nil || d.ResultURL != "" {
					require.Equal(t, "/v1/intents/x", got.Details.ResultURL)
				}
				if d.Error != nil {
					require.Equal(t, d.Error.Code, got.Details.Error.Code)
				}
			}
		})
	}
}

func TestAFullResultIsInlineUnlessEscapingSwellsIt(t *testing.T) {
	in := intent.Intent{ID: intent.NewID(time.Now(), 0)}
	result := `"` + strings.Repeat("<é&", (intent.MaxResult-2)/4) + `"`
	event := intent.Event{IntentID: in.ID, Seq: 6, Details: intent.Details{
		Message: strings.Repeat("m", intent.MaxMessage), Result: json.RawMessage(result),
	}}
	f, err := sse.NewReader(strings.NewReader(string(appendEvent(nil, event, label{id: "6", url: "/x"})))).Next()
	require.NoError(t, err)
	require.Contains(t, f.Data, result)
	require.NotContains(t, f.Data, "result_url")
}

func TestADamagedResultDoesNotStopTheStream(t *testing.T) {
	in := intent.Intent{ID: intent.NewID(time.Now(), 0)}
	event := intent.Event{IntentID: in.ID, Seq: 6, Details: intent.Details{Result: json.RawMessage(`{"a":`)}}
	f, err := sse.NewReader(strings.NewReader(string(appendEvent(nil, event, label{id: "6", url: "/x"})))).Next()
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(
		`{"intent_id":%q,"seq":6,"event_type":"","status":"","at":"0001-01-01T00:00:00Z","details":{"result_url":"/x"}}`, in.ID), f.Data)
}

package observe

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

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

func TestCursorsInALaterGeneration(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins(func(in *intent.Intent) { in.Generation = 2 })
		for name, cursor := range map[string]struct{ query, header string }{
			"seq of the current generation": {"?since=1", ""},
			"event id in the query":         {"?since=2049", ""},
			"event id in the header":        {"", "2049"},
			"seq of ours over an old id":    {"?since=1", "5"},
		} {
			t.Log(name)
			obs := tt.observes(job.stream()+cursor.query, "Last-Event-ID", cursor.header).opens()
			obs.wantSeqs(2050, 2051)
			obs.wantNothing()
			obs.leave()
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
		obs := tt.follows(job)

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

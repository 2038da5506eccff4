package observe

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

const (
	python     = "axme-sdk-python/0.3.1"
	typescript = "axme-sdk-typescript/0.2.0"
	golang     = "axme-sdk-go/0.2.0"
	cli        = "axme-cli/0.5.2"
)

func TestThePythonSDKSeesEachEventAsItComes(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		c, stop := tt.follow(python, j, (*axme).python)
		c.wants(1, 3)
		for seq := int64(4); seq < 8; seq++ {
			tt.passes(20 * time.Second) // another window each time
			j.says(strings.Repeat("x", int(seq)))
			c.wants(1, seq)
		}
		tt.passes(time.Second)
		j.completes(`1`)
		c.wants(1, 8)
		require.NoError(t, stop(), "it has ended")
	})
}

func TestTheTypeScriptSDKGetsWhatThereIsAtOnce(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		c, stop := tt.follow(typescript, j, (*axme).typescript)
		c.wants(1, 3)
		for seq := int64(4); seq < 8; seq++ {
			tt.passes(5 * time.Second) // it is in a window of 15 s
			said := time.Now()
			j.says(strings.Repeat("x", int(seq)))
			c.wants(1, seq)
			require.Equal(t, said, c.at[seq-1])
		}
		tt.passes(5 * time.Second)
		j.completes(`1`)
		c.wants(1, 8)
		require.NoError(t, stop(), "it has ended")
	})
}

func TestSDKsThatPollSeeEachEventOnce(t *testing.T) {
	for _, name := range []string{golang, ""} {
		withAXP(t, func(t *testing.T, tt *tester) {
			j := tt.begins()
			c, stop := tt.follow(name, j, (*axme).polls)
			c.wants(1, 3)
			for seq := int64(4); seq < 7; seq++ {
				tt.passes(2 * time.Second)
				j.says(strings.Repeat("x", int(seq)))
			}
			tt.passes(2 * time.Second)
			j.completes(`1`)
			tt.passes(time.Second)
			c.wants(1, 7)
			require.NoError(t, stop(), "it has ended")
		})
	}
}

func TestTheCLIWatchesWithoutAGapARepeatOrARush(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		c, stop := tt.follow(cli, j, (*axme).watch)
		c.wants(1, 3)
		for seq := int64(4); seq < 7; seq++ {
			tt.passes(20 * time.Second)
			j.says(strings.Repeat("x", int(seq)))
			c.wants(1, seq)
		}
		tt.passes(20 * time.Second)
		j.completes(`1`)
		c.wants(1, 7)
		before := c.asked()
		tt.passes(10 * time.Minute) // it goes on for ever
		c.wants(1, 7)
		require.InDelta(t, 40, c.asked()-before, 1, "a window each 15 seconds")
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

func TestAWatchBegunAfterTheEndSeesAllOfItOnce(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.runsThrough()
		c, stop := tt.follow(cli, j, (*axme).watch)
		tt.passes(time.Minute)
		c.wants(1, j.in.Seq)
		require.LessOrEqual(t, c.asked(), 6)
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

func TestAWindowEndsWithTheTerminalEvent(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		for _, client := range []string{"", python, golang} {
			j := tt.runsThrough()
			o := tt.observes(j.stream()+"?since=6&wait_seconds=15", "X-Axme-Client", client).opens()
			o.wantSeqs(7, 7)
			o.wantEnd()
		}
		tt.wantEnds(EndDone, EndDone, EndDone)
	})
}

func TestAWindowBehindTheEndIsHeldAllTheSame(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.runsThrough()
		for client, since := range map[string]string{"": "7", python: "7", typescript: "7", cli: "8"} {
			o := tt.observes(j.stream()+"?wait_seconds=15&heartbeat=60&since="+since, "X-Axme-Client", client).opens()
			tt.passes(15*time.Second - 1)
			o.wantNothing()
			tt.passes(1)
			require.Equal(t, int64(8), o.wantEvent("stream.timeout").NextSeq, client)
			o.wantEnd()
		}
	})
}

func TestTheTypeScriptSDKsWindowEndsWithTheFirstEvents(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		o := tt.observes(j.stream()+"?since=1&wait_seconds=15", "X-Axme-Client", typescript).opens()
		o.wantSeqs(2, 3)
		require.Equal(t, int64(4), o.wantEvent("stream.timeout").NextSeq)
		o.wantEnd()

		o = tt.observes(j.stream()+"?since=3&wait_seconds=15", "X-Axme-Client", typescript).opens()
		tt.passes(2 * time.Second)
		j.says("a")
		o.wantSeqs(4, 4)
		o.wantEvent("stream.timeout")
		o.wantEnd()

		o = tt.observes(j.stream()+"?since=3&wait_seconds=15", "X-Axme-Client", python).opens()
		o.wantSeqs(4, 4)
		o.wantOpen()
	})
}

func TestSinceIsTheFirstEventWantedForTheCLIAndTheLastSeenForOthers(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		for client, first := range map[string]int64{"": 3, python: 3, golang: 3, "axme-cliff/1": 3, cli: 2, "axme-cli": 2} {
			o := tt.observes(j.stream()+"?since=2&wait_seconds=15", "X-Axme-Client", client).opens()
			o.wantSeqs(first, 3)
			require.Equal(t, float64(first), decode(t, tt.get(j.path()+"/events?since=2", "X-Axme-Client", client))["events"].([]any)[0].(map[string]any)["seq"], client)
		}
		for _, client := range []string{"", python, typescript, golang, cli} {
			o := tt.observes(j.stream()+"?since=0&wait_seconds=15", "X-Axme-Client", client).opens()
			o.wantSeqs(1, 3)
			require.Len(t, decode(t, tt.get(j.path()+"/events?since=0", "X-Axme-Client", client))["events"], 3, "since=0 is all")
		}
	})
}

func TestAnAXMEClientsStreamIsAWindowIfItDoesNotSaySo(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		o := tt.observes(j.stream()+"?heartbeat=60&since=3", "X-Axme-Client", python).opens()
		lasting := tt.observes(j.stream() + "?heartbeat=60&since=3").opens() // as an EventSource asks
		tt.passes(15 * time.Second)
		require.Equal(t, int64(4), o.wantEvent("stream.timeout").NextSeq)
		o.wantEnd()
		tt.passes(5 * time.Minute)
		lasting.wantOpen()
		ended := tt.runsThrough()
		require.Equal(t, http.StatusNoContent, tt.get(ended.stream()+"?since=7").Code, "it is told that there is nothing more")
	})
}

func TestAWindowIsOverAndNotCutWhenTheServerGoesAway(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		var windows []*observer
		for client, since := range map[string]string{python: "3", typescript: "3", cli: "4"} {
			windows = append(windows, tt.observes(j.stream()+"?wait_seconds=15&since="+since, "X-Axme-Client", client).opens())
		}
		other := tt.observes(j.stream() + "?wait_seconds=15&since=3").opens()
		tt.hub.Drain(ErrDraining)
		for _, o := range windows {
			require.Equal(t, int64(4), o.wantEvent("stream.timeout").NextSeq, "where it goes on")
			o.wantEnd()
		}
		other.wantRetry(500*time.Millisecond, 2500*time.Millisecond)
		other.wantCut()
	})
}

func TestWithoutAXPAllClientsAreTheSame(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		for _, client := range []string{python, typescript, cli} {
			o := tt.observes(j.stream()+"?since=2", "X-Axme-Client", client).opens()
			o.wantSeqs(3, 3)
			tt.passes(2 * time.Minute)
			o.wantOpen()
		}
		require.Empty(t, tt.get(j.path(), "X-Trace-Id", "t").Header().Get("X-Trace-Id"))
		for _, path := range []string{"/resume", "/controls", "/policy"} {
			require.Equal(t, http.StatusNotFound, tt.posts(j.path()+path, `{}`).Code)
		}
		require.Equal(t, http.StatusMethodNotAllowed, tt.posts("/v1/intents/bulk-cancel", `{}`).Code)
	})
}

func TestEventsAreListedAtOnceIfThereAreNone(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j, began := tt.begins(), time.Now()
		for _, client := range []string{golang, ""} {
			w := tt.get(j.path()+"/events?since=3", "X-Axme-Client", client)
			require.Equal(t, http.StatusOK, w.Code)
			require.JSONEq(t, `{"ok":true,"events":[]}`, w.Body.String())
		}
		require.Equal(t, began, time.Now())
	})
}

func TestASignOfLifeIsOneLineAndPutsOffNoEnd(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		o := tt.observes(j.stream()+"?since=3&wait_seconds=10&heartbeat=3", "X-Axme-Client", python).opens()
		for range 3 {
			tt.passes(3 * time.Second)
			o.wantHeartbeat()
		}
		tt.passes(time.Second)
		o.wantEvent("stream.timeout")
		o.wantEnd()
	})
}

func TestNoStreamEventButTheTimeoutIsEverNamed(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		ended, running := tt.runsThrough(), tt.begins()
		for _, client := range []string{"", python, typescript, golang, cli} {
			for _, target := range []string{ended.stream(), ended.stream() + "?since=7", ended.stream() + "?since=99", running.stream(), running.stream() + "?since=3"} {
				target = with(target, "&wait_seconds=2")
				o := tt.observes(target, "X-Axme-Client", client)
				tt.passes(2 * time.Second)
				for token := o.next(); token != ""; token = o.next() {
					if _, name, ok := strings.Cut(token, "event: "); ok {
						name, _, _ = strings.Cut(name, "\n")
						require.True(t, name == "stream.timeout" || strings.HasPrefix(name, "intent."), name)
						require.Equal(t, 1, strings.Count(token, "\ndata: "), "the CLI takes the last line for all")
					}
				}
				o.wantEnd()
			}
		}
	})
}

func TestErrorsAreToldInTheWaysThatAXMEsClientsRead(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Tokens: keys, AXP: &AXP{}, Limits: Limits{PerOwner: 1}})
		tt.is("alice")
		j := tt.begins(ownedBy("alice"))
		tt.observes(j.stream())
		for _, test := range []struct {
			status int
			w      *httptest.ResponseRecorder
		}{
			{400, tt.get(j.path() + "/events?since=x")},
			{400, tt.get(j.stream() + "?wait_seconds=61")},
			{404, tt.get("/v1/intents/" + intent.ID{}.String())},
			{409, tt.posts(j.path()+"/resolve", `{"status":"COMPLETED","result":{}}`)},
			{413, tt.posts(j.path()+"/resolve", strings.Repeat(" ", maxWish+1))},
			{429, tt.get(j.stream())},
			{501, tt.posts(j.path()+"/resume", `{}`)},
		} {
			require.Equal(t, test.status, test.w.Code)
			told := decode(t, test.w)
			require.Equal(t, false, told["ok"])
			message := told["detail"]
			require.NotEmpty(t, message, "which the CLI shows")
			failure := told["error"].(map[string]any)
			require.Equal(t, message, failure["message"], "which SDKs raise")
			require.NotEmpty(t, failure["code"])
			require.IsType(t, map[string]any{}, failure["details"])
			if test.status == 429 {
				require.Equal(t, "10", test.w.Header().Get("Retry-After"), "seconds, as a whole number")
			}
		}
	})
}

func TestWhatSteersAnAgentIsSaidNotToBeHere(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Tokens: keys, AXP: &AXP{}})
		j := tt.begins(ownedBy("alice"))
		for _, path := range []string{"/resume", "/controls", "/policy"} {
			tt.is("alice")
			w := tt.posts(j.path()+path, `{"actor":"a"}`)
			require.Equal(t, http.StatusNotImplemented, w.Code)
			require.Equal(t, "not_supported", problemCode(t, w))
			tt.is("eve")
			require.Equal(t, http.StatusNotFound, tt.posts(j.path()+path, `{}`).Code)
			tt.is("")
			require.Equal(t, http.StatusUnauthorized, tt.posts(j.path()+path, `{}`).Code)
		}
	})
}

func TestIntentsHaveWhatAXMEsCLIReads(t *testing.T) {
	withAXP(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		j.reads(intent.Reading{Status: intent.InProgress, Message: "m"})
		in := decode(t, tt.get(j.path()))["intent"].(map[string]any)
		require.Equal(t, "IN_PROGRESS", in["lifecycle_status"])
		require.Equal(t, in["status"], in["lifecycle_status"])
		require.Equal(t, "report", in["intent_type"])
		next := j.in
		next.Waiting = "backend"
		j.stores(next, nil)
		require.Equal(t, "backend", decode(t, tt.get(j.path()))["intent"].(map[string]any)["lifecycle_waiting_reason"])
	})
}

// creates keeps what it was asked to create.
type creates struct{ asked []Creation }

func (c *creates) Create(_ http.ResponseWriter, _ *http.Request, wish Creation) error {
	c.asked = append(c.asked, wish)
	return nil
}

func TestACreateMayBeWrittenInCamelCase(t *testing.T) {
	const correlation = "5d2a3c1e-0c56-4b1a-9a0c-4d1f0f3f4a11"
	snake := `{"intent_type":"report","correlation_id":"` + correlation + `","from_agent":"agent://a","to_agent":"agent://b","payload":{"max_rows": 1},"ttl_seconds":60,"max_delivery_attempts":2,"human_task":null}`
	camel := `{"intentType":"report","correlationId":"` + correlation + `","fromAgent":"agent://a","toAgent":"agent://b","payload":{"max_rows": 1},"ttlSeconds":60,"maxDeliveryAttempts":2,"humanTask":null}`
	run(t, func(t *testing.T, tt *tester) {
		c := new(creates)
		for _, axp := range []*AXP{nil, new(AXP)} {
			tt.configure(Config{AXP: axp, Creator: c, MaxBody: 1 << 20})
			require.Equal(t, http.StatusOK, tt.posts("/v1/intents", snake).Code)
		}
		require.Equal(t, http.StatusOK, tt.posts("/v1/intents", camel).Code)
		c.asked[2].Body = c.asked[1].Body
		require.Equal(t, c.asked[0], c.asked[1])
		require.Equal(t, c.asked[1], c.asked[2])
		require.Equal(t, http.StatusUnprocessableEntity, tt.posts("/v1/intents", `{"toAgent":"agent://b"}`).Code)
		require.Equal(t, http.StatusBadRequest, tt.posts("/v1/intents", `{"intentType":"report","ttlSeconds":"soon"}`).Code)

		tt.configure(Config{Creator: c, MaxBody: 1 << 20})
		require.Equal(t, http.StatusUnprocessableEntity, tt.posts("/v1/intents", camel).Code, "without axp it is a mistake")
	})
}

func TestATraceIDIsEchoedWithinBounds(t *testing.T) {
	for trace, want := range map[string]string{
		"4f0e8a52-7b0c-4b63-8f29-0a3a4c4ab2f1": "4f0e8a52-7b0c-4b63-8f29-0a3a4c4ab2f1", "": "",
		strings.Repeat("x", maxTrace+1): "",
	} {
		h := make(http.Header)
		new(AXP).Head(h, request(http.MethodGet, "/", []string{"X-Trace-Id", trace}))
		require.Equal(t, want, h.Get("X-Trace-Id"))
	}
}

func TestCapabilitiesNameWhatCanBeCreated(t *testing.T) {
	w := httptest.NewRecorder()
	(&AXP{IntentTypes: []string{"report.generate.v1", "short"}}).Capabilities(w, request(http.MethodGet, "/v1/capabilities", nil))
	var told struct {
		OK           bool
		Capabilities []string
		Types        []string `json:"supported_intent_types"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &told))
	require.True(t, told.OK)
	require.NotEmpty(t, told.Capabilities)
	for _, c := range told.Capabilities {
		require.GreaterOrEqual(t, len(c), 3)
	}
	require.Equal(t, []string{"report.generate.v1", "short"}, told.Types)
}

package webhook

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store"
)

func TestAMessageIsOneThatStandardWebhooksVerifies(t *testing.T) {
	s, err := ParseSecret(theSecret)
	require.NoError(t, err)
	verifier, err := standardwebhooks.NewWebhook(theSecret)
	require.NoError(t, err)
	m := store.Message{MessageID: store.MessageID{Seq: 3, To: "x"}, Job: "report"}
	body, err := bodyOf(&m)
	require.NoError(t, err)
	now := time.Now() // the library has a clock of its own
	h := http.Header{"Webhook-Id": {IDOf(m.MessageID)}, "Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)}, "Webhook-Signature": {s.sign(IDOf(m.MessageID), now, body)}}
	require.NoError(t, verifier.Verify(body, h))
	require.Error(t, verifier.Verify(append(body, ' '), h))
}

func TestAnEventIsToldToAllWhomItNames(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		id := wt.tell("https://a.example/hook", "https://b.example/hook")
		wt.advance(time.Second)
		got := wt.receivers.all()
		require.Len(t, got, 2)
		require.NotEqual(t, got[0].header["Webhook-Id"], got[1].header["Webhook-Id"])
		var body struct {
			Type      string
			Timestamp time.Time
			Data      struct {
				Job   string
				Event struct {
					IntentID string `json:"intent_id"`
					Seq      int
					Status   string
					Details  json.RawMessage
				}
			}
		}
		require.NoError(t, json.Unmarshal(got[0].body, &body))
		require.Equal(t, "intent.failed", body.Type)
		require.Equal(t, "report", body.Data.Job)
		require.Equal(t, id.String(), body.Data.Event.IntentID)
		require.Equal(t, 3, body.Data.Event.Seq)
		require.Contains(t, string(body.Data.Event.Details), "no paper")
		require.Empty(t, wt.waiting())
		require.Equal(t, []Outcome{Taken, Taken}, wt.outcomes)
	})
}

func TestAReceiverThatIsAwayIsTriedForADayUnderOneID(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.receivers.script("a.example", func(*http.Request) (*http.Response, error) {
			return nil, errors.New("no route to https://a.example/hook?key=canary")
		})
		wt.tell("https://a.example/hook?key=canary")
		wt.advance(48 * time.Hour)
		got := wt.receivers.all()
		require.Len(t, got, maxTries)
		require.InDelta(t, 26, got[len(got)-1].at.Sub(got[0].at).Hours(), 3)
		for i, g := range got {
			require.Equal(t, got[0].header.Get("Webhook-Id"), g.header.Get("Webhook-Id"))
			if i > 1 {
				require.Greater(t, g.at.Sub(got[i-1].at)*3/2, got[i-1].at.Sub(got[i-2].at), "no sooner than the one before, but for chance")
			}
		}
		dead := wt.waiting()
		require.Len(t, dead, 1)
		require.True(t, dead[0].Dead)
		require.Equal(t, "it could not be reached", dead[0].Failure)
		require.NotContains(t, wt.log.String(), "canary")
		wt.advance(keepDead)
		wt.advance(2 * cleanEvery)
		require.Empty(t, wt.waiting(), "nobody has cared for it")
	})
}

func TestARevivedMessageIsSentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.receivers.script("a.example", code(410))
		wt.tell("https://a.example/hook")
		wt.advance(time.Minute)
		require.Len(t, wt.receivers.all(), 1, "410 says that it wants no more")
		m := wt.waiting()[0]
		require.True(t, m.Dead)
		wt.receivers.script("a.example", nil)
		m.Dead, m.Due, m.Attempts = false, time.Now(), 0
		require.NoError(t, wt.store.Keep(t.Context(), m))
		wt.advance(lookEvery + time.Second)
		require.Empty(t, wt.waiting())
	})
}

func TestWhatIsNotTakenIsTriedAgain(t *testing.T) {
	for name, answer := range map[string]receiver{
		"redirect": code(302, "Location", "https://b.example/"), "bad request": code(400), "too many": code(429), "failure": code(500), "hang": hang,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, wt *tester) {
				wt.receivers.script("a.example", answer)
				wt.tell("https://a.example/hook")
				wt.advance(sendTimeout + time.Second)
				require.Len(t, wt.waiting(), 1)
				require.Positive(t, wt.waiting()[0].Attempts)
				require.NotEmpty(t, wt.waiting()[0].Failure)
				wt.receivers.script("a.example", nil)
				wt.advance(time.Minute)
				require.Empty(t, wt.waiting())
			})
		})
	}
}

func TestAReceiverSaysWhenToComeBack(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.receivers.script("a.example", code(503, "Retry-After", "600"))
		wt.receivers.script("b.example", code(503, "Retry-After", "99999999999"))
		wt.receivers.script("c.example", code(503, "Retry-After", "soon"))
		wt.receivers.script("d.example", code(503, "Retry-After", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat)))
		wt.tell("https://a.example/hook", "https://b.example/hook", "https://c.example/hook", "https://d.example/hook")
		wt.advance(time.Second)
		due := make(map[string]time.Duration)
		for _, m := range wt.waiting() {
			due[m.To] = time.Until(m.Due).Round(time.Second)
		}
		require.InDelta(t, 599, due["https://a.example/hook"].Seconds(), 1)
		require.InDelta(t, 599, due["https://d.example/hook"].Seconds(), 2)
		require.InDelta(t, maxRetryAfter.Seconds(), due["https://b.example/hook"].Seconds(), 2)
		require.Less(t, due["https://c.example/hook"], 10*time.Second)
	})
}

func TestOneThatHangsKeepsNobodyWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.receivers.script("a.example", hang)
		for range 100 {
			wt.tell("https://a.example/hook")
		}
		wt.tell("https://b.example/hook")
		wt.advance(3 * time.Second)
		require.Len(t, wt.receivers.all(), maxSendingToOne+1)
		require.Len(t, wt.waiting(), 100)
	})
}

func TestThousandsForOneThatHangsKeepNobodyWaitingAndCostFewWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		const many = 3000
		wt.receivers.script("a.example", hang)
		wt.sender.Stop() // as after an outage: all of them are due before the last one
		for range many {
			wt.tell("https://a.example/hook")
		}
		wt.start()
		reached := func() (n int) {
			for _, g := range wt.receivers.all() {
				if g.host == "b.example" {
					n++
				}
			}
			return n
		}
		for i := range 20 { // through the guess, the holds and the probes
			wt.tell("https://b.example/hook")
			wt.advance(2 * time.Second)
			require.Equal(t, i+1, reached(), "at %s", time.Duration(2*i)*time.Second)
		}
		require.Less(t, wt.keeps.Load(), int64(3*many), "in 40 s")
		wt.advance(time.Hour)
		require.Less(t, wt.keeps.Load(), int64(10*many), "in an hour: as many as pauses of a message")
		require.Less(t, len(wt.receivers.all()), 100, "one probe at a time")
		wt.receivers.script("a.example", nil)
		wt.advance(2 * maxPause)
		require.Empty(t, wt.waiting(), "it has come back")
	})
}

func TestABurstForAGoodReceiverIsTakenSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.receivers.script("a.example", func(r *http.Request) (*http.Response, error) {
			<-time.After(50 * time.Millisecond) // virtual
			return code(http.StatusNoContent)(r)
		})
		for range 3000 {
			wt.tell("https://a.example/hook")
		}
		wt.advance(90 * time.Second)
		require.Zero(t, len(wt.waiting()))
		require.Less(t, wt.keeps.Load(), int64(2*3000))
	})
}

func TestAHostThatAnswersAgainIsHeldOffNoLonger(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.receivers.script("a.example", hang)
		for range holdAfter {
			wt.tell("https://a.example/hook")
		}
		wt.advance(sendTimeout + time.Second)
		tried := len(wt.receivers.all())
		wt.tell("https://a.example/hook")
		require.Len(t, wt.receivers.all(), tried, "it is held off")
		wt.receivers.script("a.example", nil)
		wt.advance(time.Minute) // those due beside the probe have their next pause before them
		require.Empty(t, wt.waiting())
		wt.tell("https://a.example/hook")
		wt.advance(time.Second)
		require.Empty(t, wt.waiting())
	})
}

func TestARecipientThatTheConfigDoesNotHaveIsGivenUpAfterADay(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.missing.Store("gone")
		wt.tell("gone")
		wt.advance(12 * time.Hour)
		require.False(t, wt.waiting()[0].Dead)
		wt.advance(36 * time.Hour)
		require.True(t, wt.waiting()[0].Dead)
		require.Equal(t, ErrNoTarget.Error(), wt.waiting()[0].Failure)
	})
}

func TestARecipientThatTheConfigHasAgainIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.missing.Store("https://a")
		wt.tell("https://a.example/hook")
		require.Zero(t, wt.waiting()[0].Attempts, "a reload costs no try")
		wt.missing.Store("")
		wt.advance(20 * time.Second)
		require.Empty(t, wt.waiting())
		require.Len(t, wt.receivers.all(), 1)
	})
}

func TestAStopCostsATryAndNoMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, wt *tester) {
		wt.receivers.script("a.example", hang)
		wt.tell("https://a.example/hook")
		wt.advance(time.Second)
		wt.sender.Stop()
		require.Len(t, wt.waiting(), 1)
		require.Zero(t, wt.waiting()[0].Attempts)
		wt.receivers.script("a.example", nil)
		wt.start()
		wt.advance(time.Second)
		require.Empty(t, wt.waiting())
	})
}

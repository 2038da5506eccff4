package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

const hookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// A told is a message that a receiver got and verified.
type told struct {
	Path string
	Type string
	Data struct {
		Job   string
		Event intent.Event
	}
}

// receiver is a real server that answers with what it is told to and passes on what
// the Standard Webhooks library has verified.
func receiver(t *testing.T, answers ...int) (url string, got <-chan told) {
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	messages := make(chan told, 100) // more than a test has
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || verifier.Verify(body, r.Header) != nil {
			t.Error("a message that does not verify")
		}
		if len(answers) > 0 {
			code := answers[0]
			answers = answers[1:] // one request at a time: the next one comes after this answer
			w.WriteHeader(code)
			return
		}
		m := told{Path: r.URL.Path}
		if json.Unmarshal(body, &m) != nil {
			t.Error("a message that is no JSON")
		}
		messages <- m
	}))
	t.Cleanup(server.Close)
	return server.URL, messages
}

// hooked is the usual job with these webhook lines.
func hooked(site, lines string) string {
	return strings.Replace(site, "poll 100ms", lines+"\npoll 100ms", 1)
}

func next(t *testing.T, got <-chan told) told {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(30 * time.Second):
		require.FailNow(t, "no message came")
		return told{}
	}
}

func TestAWebhookIsToldHowAnIntentEnds(t *testing.T) {
	s := newSite(t)
	url, got := receiver(t)
	s.serve(hooked(report, "webhook "+url+"/hook {\nsecret "+hookSecret+"\nallow_private\n}"))
	id, job := s.submit()
	s.backend.Finishes(job)
	m := next(t, got)
	require.Equal(t, "/hook", m.Path)
	require.Equal(t, "intent.completed", m.Type)
	require.Equal(t, "report", m.Data.Job)
	require.Equal(t, id, m.Data.Event.IntentID.String())
	events := s.observe(id).until(intent.Completed)
	require.Equal(t, events[len(events)-1].Seq, m.Data.Event.Seq)
}

func TestAWebhookThatFailedIsToldAgain(t *testing.T) {
	s := newSite(t)
	url, got := receiver(t, 500)
	s.serve(hooked(report, "webhook "+url+" {\nsecret "+hookSecret+"\nevents delivered\nallow_private\n}"))
	id, _ := s.submit()
	m := next(t, got)
	require.Equal(t, "intent.delivered", m.Type)
	require.Equal(t, id, m.Data.Event.IntentID.String())
}

func TestASubmitNamesItsWebhookWithinBounds(t *testing.T) {
	s := newSite(t)
	url, got := receiver(t)
	s.serve(strings.Replace(hooked(report, "webhook {\nsecret "+hookSecret+"\nallow_private\n}"), "intents TO {", "intents TO {\nwebhook_hosts hooks.example [::1] "+strings.TrimPrefix(url, "http://"), 1))
	for bad, code := range map[string]int{
		"https://evil.example/hook": 403, "http://127.0.0.1@evil.example/": 400, "http://127.0.0.1.evil.example/": 403,
		"ftp://127.0.0.1/": 400, "/hook": 400, "http://127.0.0.1/" + strings.Repeat("x", 2<<10): 400, "http://[::1]:81/": 403, "http://127.0.0.1/": 403,
		"https://hooks.example:8443/": 403, "https://hooks.example:80/": 403, "http://hooks.example:443/": 403, "https://hooks.example.:443/": 403,
	} {
		require.Equal(t, code, s.do("POST", "/reports/generate", `{}`, "Webhook-URL", bad).StatusCode, bad)
	}
	require.Zero(t, s.posts())
	s.backend.EveryJobSays(legacytest.Status{State: "failed", Error: "no paper"})
	text(t, s.do("POST", "/reports/generate", `{}`, "Webhook-URL", url+"/mine?key=secret"))
	m := next(t, got)
	require.Equal(t, "/mine", m.Path)
	require.Equal(t, "intent.failed", m.Type)
	require.Empty(t, s.backend.AskedFor("POST", "/reports/generate")[0].Header.Get("Webhook-Url"), "the backend would tell it a second time")
}

func TestAHeaderOfTheBackendsOwnIsLeftAlone(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	require.Equal(t, http.StatusAccepted, s.do("POST", "/reports/generate", `{}`, "Webhook-URL", "http://whatever").StatusCode)
	require.Equal(t, "http://whatever", s.backend.AskedFor("POST", "/reports/generate")[0].Header.Get("Webhook-Url"))
}

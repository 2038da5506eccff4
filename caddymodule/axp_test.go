package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// axp is the usual job for AXME's clients, who say who they are by a key in either of
// two headers.
const axp = `@bearer {
	not header X-Api-Key *
	header_regexp key Authorization "^Bearer +(.+)$"
}
route {
	request_header @bearer X-Api-Key {re.key.1}
	map {http.request.header.X-Api-Key} {tenant} {
		k-ada ada
		k-eve eve
		default ""
	}
` + "intents TO {\nowner {tenant}\naxp\n" + `
	job report {
		submit POST /reports/generate
		status GET /reports/status/{job_id}
		poll 100ms {
			first 50ms
		}
	}
}
THEIRS
}`

// withAXP is the site with what answers after us.
func withAXP(theirs string) string { return strings.Replace(axp, "THEIRS", theirs, 1) }

func TestHealthIsTheBackendsAndOursWhereItHasNone(t *testing.T) {
	s := newSite(t)
	s.serve(withAXP(""))
	for _, path := range []string{"/health", "/v1/health"} { // there are SDKs for both
		resp := s.do("GET", path, "", "X-Trace-Id", "trace-1")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
		require.Equal(t, []string{"trace-1"}, resp.Header["X-Trace-Id"])
		require.JSONEq(t, `{"ok":true,"service":"caddy-intents"}`, text(t, resp))
		require.Len(t, s.backend.AskedFor("GET", path), 1, "the backend is asked first")
		require.Equal(t, http.StatusNotFound, s.do("POST", path, "").StatusCode)
	}
	require.Equal(t, "no-store", s.do("HEAD", "/health", "").Header.Get("Cache-Control"))

	for theirs, status := range map[string]int{
		`respond /health "I am well" 200`:     200,
		`respond /health "I am not" 503`:      503,
		`error /health "I am not either" 500`: 500,
	} {
		s.serve(withAXP(theirs))
		resp := s.do("GET", "/health", "", "X-Trace-Id", "trace-1")
		require.Equal(t, status, resp.StatusCode, theirs)
		require.NotContains(t, text(t, resp), "caddy-intents")
		require.Empty(t, resp.Header.Get("X-Trace-Id"))
	}
	for _, theirs := range []string{
		`error /health "none here" 404`,
		"header /health X-Theirs yes\n" + `respond /health "a long text that says that there is none" 404`,
	} {
		s.serve(withAXP(theirs))
		resp := s.do("GET", "/health", "")
		require.Equal(t, http.StatusOK, resp.StatusCode, theirs)
		require.Empty(t, resp.Header.Get("X-Theirs"))
		require.JSONEq(t, `{"ok":true,"service":"caddy-intents"}`, text(t, resp))
	}

	s.serve(strings.Replace(withAXP(""), "intents TO {", "intents {\nbackend {\nreverse_proxy TO {\nflush_interval -1\n}\n}", 1))
	require.JSONEq(t, `{"ok":true,"service":"caddy-intents"}`, text(t, s.do("GET", "/health", "")), "a proxy may flush what is kept")

	s.to = caddytest.FreeAddr(t)
	s.serve(withAXP(""))
	require.Equal(t, http.StatusBadGateway, s.do("GET", "/health", "").StatusCode, "a backend that is away is not well")

	s.serve(strings.Replace(withAXP(""), "\naxp\n", "\n", 1))
	require.Equal(t, http.StatusBadGateway, s.do("GET", "/v1/capabilities", "").StatusCode, "without axp it is the backend's")
}

func TestCapabilitiesAreTheJobsThatCanBeCreated(t *testing.T) {
	s := newSite(t)
	s.serve(withAXP(""))
	for _, key := range [][]string{{"X-Api-Key", "k-ada"}, {"Authorization", "Bearer k-ada"}} {
		resp := s.do("GET", "/v1/capabilities", "", append(key, "X-Trace-Id", "trace-2")...)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, "trace-2", resp.Header.Get("X-Trace-Id"))
		var told struct {
			OK           bool
			Capabilities []string
			Types        []string `json:"supported_intent_types"`
		}
		require.NoError(t, json.Unmarshal([]byte(text(t, resp)), &told))
		require.True(t, told.OK)
		require.NotEmpty(t, told.Capabilities)
		require.Equal(t, []string{"report"}, told.Types)
	}
	require.Equal(t, http.StatusUnauthorized, s.do("GET", "/v1/capabilities", "").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, s.do("POST", "/v1/capabilities", "{}", "X-Api-Key", "k-ada").StatusCode)
	require.Empty(t, s.backend.AskedFor("GET", "/v1/capabilities"))

	s.serve(strings.Replace(withAXP(""), "\naxp\n", "\naxp\ncors https://app.example.com\n", 1))
	preflight := s.do("OPTIONS", "/v1/capabilities", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "GET")
	require.Equal(t, http.StatusNoContent, preflight.StatusCode)
	require.Contains(t, preflight.Header.Get("Access-Control-Allow-Headers"), "X-Api-Key")
}

func TestAKeyCountsInEitherHeaderAndNoOtherCounts(t *testing.T) {
	s := newSite(t)
	s.serve(withAXP(""))
	id := s.do("POST", "/reports/generate", `{}`, "X-Api-Key", "k-ada").Header.Get("Intent-Id")
	require.NotEmpty(t, id)
	for _, who := range []struct {
		headers []string
		status  int
	}{
		{[]string{"X-Api-Key", "k-ada"}, 200},
		{[]string{"X-Api-Key", "k-ada", "Authorization", "Bearer of an actor token"}, 200}, // SDKs can send both
		{[]string{"Authorization", "Bearer k-ada"}, 200},
		{[]string{"X-Api-Key", "k-eve"}, 404},
		{[]string{"X-Api-Key", "k-eve", "Authorization", "Bearer k-ada"}, 404},
		{[]string{"X-Api-Key", "k-ada2"}, 401},
		{[]string{"Authorization", "Bearer k-ada2"}, 401},
		{nil, 401},
	} {
		require.Equal(t, who.status, s.do("GET", "/v1/intents/"+id, "", who.headers...).StatusCode, "%v", who.headers)
	}
	require.Contains(t, text(t, s.do("GET", "/v1/intents?limit=50", "", "Authorization", "Bearer k-ada")), id)
	require.NotContains(t, text(t, s.do("GET", "/v1/intents?limit=50&status=", "", "X-Api-Key", "k-eve")), id)
}

func TestAnIntentHasTwoEventsAtLeastWhenItsSubmitIsAnswered(t *testing.T) {
	s := newSite(t)
	s.serve(withAXP(""))
	id := s.do("POST", "/reports/generate", `{}`, "X-Api-Key", "k-ada").Header.Get("Intent-Id")
	var listed struct{ Events []intent.Event }
	require.NoError(t, json.Unmarshal([]byte(text(t, s.do("GET", "/v1/intents/"+id+"/events", "", "X-Api-Key", "k-ada"))), &listed))
	require.GreaterOrEqual(t, len(listed.Events), 2)
	require.Equal(t, intent.TypeCreated, listed.Events[0].Type)
	require.Equal(t, intent.TypeSubmitted, listed.Events[1].Type)
	stream := text(t, s.do("GET", "/v1/intents/"+id+"/events/stream?since=1&wait_seconds=1", "", "X-Api-Key", "k-ada"))
	require.Contains(t, stream, "event: intent.submitted\n")
	require.NotContains(t, stream, "event: intent.created\n")
}

func TestWindowsAndListsOfEventsAskTheBackendForNothing(t *testing.T) {
	s := newSite(t)
	s.backend.EveryJobSays(legacytest.Status{State: "running", Percent: 50}, legacytest.Status{State: "done", URL: "/x"})
	s.serve(withAXP(""))
	resp := s.do("POST", "/reports/generate", `{}`, "X-Api-Key", "k-ada")
	id := resp.Header.Get("Intent-Id")
	s.observe(id, "X-Api-Key", "k-ada").until(intent.Completed)
	polls := len(s.backend.AskedFor("GET", "/reports/status/job-1"))
	for _, client := range []string{"axme-sdk-python/1", "axme-sdk-typescript/1", "axme-sdk-go/1", "axme-cli/1"} {
		for _, path := range []string{"", "/events", "/events?since=0", "/events/stream?since=1&wait_seconds=15"} {
			resp := s.do("GET", "/v1/intents/"+id+path, "", "X-Api-Key", "k-ada", "X-Axme-Client", client, "X-Trace-Id", "trace-3")
			require.Equal(t, "trace-3", resp.Header.Get("X-Trace-Id"))
			require.Contains(t, text(t, resp), "COMPLETED")
		}
	}
	require.Len(t, s.backend.AskedFor("GET", "/reports/status/job-1"), polls)
}

func TestAnIntentIsCreatedObservedAndCanceledByAXPAlone(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(withAXP(""), "poll 100ms", "cancel DELETE /reports/status/{job_id}\npoll 100ms", 1))
	me := []string{"X-Api-Key", "k-ada", "X-Axme-Client", "axme-sdk-typescript/0.2.0"}
	id := createdID(t, s.create(`{"intentType":"report","toAgent":"agent://acme/reports","payload":{"a":1}}`, me...))
	var listed struct{ Events []intent.Event }
	require.NoError(t, json.Unmarshal([]byte(text(t, s.do("GET", "/v1/intents/"+id+"/events", "", me...))), &listed))
	require.GreaterOrEqual(t, len(listed.Events), 2, "they are stored before the answer")
	require.Contains(t, text(t, s.do("GET", "/v1/intents/"+id, "", me...)), `"payload":{"a":1}`, "as it came")

	for since, seen := 1, ""; !strings.Contains(seen, "intent.in_progress"); { // each window ends with what there is
		seen = text(t, s.do("GET", fmt.Sprintf("/v1/intents/%s/events/stream?since=%d&wait_seconds=15", id, since), "", me...))
		require.Contains(t, seen, "event: stream.timeout\n")
		since += strings.Count(seen, "event: intent.")
	}
	resolve := func() *http.Response {
		return s.do("POST", "/v1/intents/"+id+"/resolve", `{"status":"CANCELED","reason":"not needed"}`, append(me, "Content-Type", "application/json")...)
	}
	canceled := text(t, resolve())
	require.Contains(t, canceled, `"event_type":"intent.canceled"`)
	require.Contains(t, canceled, `"completion_delivery":{"delivered":false}`)
	require.Equal(t, http.StatusConflict, resolve().StatusCode)
	require.Equal(t, 1, s.backend.Jobs()[0].Cancels)
}

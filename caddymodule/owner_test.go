package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// owned is the usual job in a site that knows its users by a header.
var owned = strings.Replace(report, "intents TO {", "intents TO {\nowner {http.request.header.X-User}", 1)

func (s *site) submitOwned(user string) (id, job, observeURL string) {
	s.t.Helper()
	var answer struct {
		JobID      string `json:"job_id"`
		IntentID   string `json:"intent_id"`
		ObserveURL string `json:"observe_url"`
	}
	body := text(s.t, s.do("POST", "/reports/generate", `{}`, "X-User", user))
	require.NoError(s.t, json.Unmarshal([]byte(body), &answer), body)
	return answer.IntentID, answer.JobID, answer.ObserveURL
}

func TestAnIntentIsSeenByItsOwnerAndNobodyElse(t *testing.T) {
	s := newSite(t)
	s.serve(owned)
	id, job, _ := s.submitOwned("ada")
	other, _, otherURL := s.submitOwned("eve")
	token := otherURL[strings.Index(otherURL, "token=")+len("token="):]
	require.NotEmpty(t, token)
	absent := "/v1/intents/00000000-0000-8000-8000-000000000000"
	for _, path := range []string{"", "/events", "/events/stream", "/result"} {
		path = "/v1/intents/" + id + path
		require.Equal(t, http.StatusUnauthorized, s.do("GET", path, "").StatusCode, path)
		require.Equal(t, http.StatusUnauthorized, s.do("GET", path+"?token=nonsense", "").StatusCode, path)
		require.Equal(t, http.StatusUnauthorized, s.do("GET", path+"?token="+token, "").StatusCode, "a token of another intent")
		foreign := s.do("GET", path, "", "X-User", "eve")
		require.Equal(t, http.StatusNotFound, foreign.StatusCode, path)
		require.Equal(t, text(t, s.do("GET", absent, "", "X-User", "eve")), text(t, foreign), "foreign is absent")
	}
	for _, mine := range []string{id, other} {
		stream := s.do("GET", "/v1/intents/events/stream?id="+id+"&id="+other, "", "X-User", map[string]string{id: "ada", other: "eve"}[mine])
		require.Equal(t, http.StatusNotFound, stream.StatusCode, "together with a foreign one")
	}
	require.Equal(t, http.StatusUnauthorized, s.do("DELETE", "/v1/intents/"+id, "").StatusCode)
	require.Equal(t, http.StatusNotFound, s.do("DELETE", "/v1/intents/"+id, "", "X-User", "eve").StatusCode)
	require.Equal(t, http.StatusUnauthorized, s.do("DELETE", "/v1/intents/"+other+"?token="+token, "").StatusCode, "a token reads only")
	require.Equal(t, http.StatusNotFound, s.do("POST", "/v1/intents/"+id+"/resolve", `{"status":"CANCELED"}`, "X-User", "eve", "Content-Type", "application/json").StatusCode)
	require.Equal(t, http.StatusUnauthorized, s.do("GET", "/v1/intents", "").StatusCode)
	require.NotContains(t, text(t, s.do("GET", "/v1/intents", "", "X-User", "eve")), id)

	list := text(t, s.do("GET", "/v1/intents", "", "X-User", "ada"))
	require.Contains(t, list, id)
	require.NotContains(t, list, other)
	s.backend.Finishes(job)
	s.observe(id, "X-User", "ada").until(intent.Completed)
}

func TestAnObserveTokenReadsWithoutHeaders(t *testing.T) {
	s := newSite(t)
	s.serve(owned)
	id, job, observeURL := s.submitOwned("ada")
	require.Contains(t, observeURL, "/v1/intents/"+id+"/events/stream?token=")
	s.backend.Finishes(job)
	stream := text(t, s.do("GET", observeURL, ""))
	require.Contains(t, stream, "event: intent.completed")
}

func TestASubmitWithoutAnOwnerMakesNoIntent(t *testing.T) {
	s := newSite(t)
	s.serve(owned)
	resp := s.do("POST", "/reports/generate", `{}`)
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Empty(t, resp.Header.Get("Intent-Id"))
	require.JSONEq(t, `{"job_id":"job-1","status":"pending"}`, text(t, resp))
}

func TestNoCredentialIsFoundInTheStore(t *testing.T) {
	const canary = "canary-41f0"
	s := newSite(t)
	s.serve(strings.Replace(owned, "poll 100ms", "copy_headers Authorization\npoll 100ms", 1))
	resp := s.do("POST", "/reports/generate", `{}`, "X-User", "user-"+canary, "Authorization", "Bearer "+canary,
		"Cookie", "session="+canary, "Idempotency-Key", "key-"+canary)
	id := resp.Header.Get("Intent-Id")
	require.NotEmpty(t, id)
	s.observe(id, "X-User", "user-"+canary).until(intent.InProgress)
	for len(s.backend.AskedFor("GET", "/reports/status/job-1")) == 0 {
		s.do("GET", "/v1/intents/"+id, "", "X-User", "user-"+canary).Body.Close()
	}
	require.Equal(t, "Bearer "+canary, s.backend.AskedFor("GET", "/reports/status/job-1")[0].Header.Get("Authorization"))
	require.NoError(t, caddy.Stop())
	file, err := os.ReadFile(s.store)
	require.NoError(t, err)
	require.NotContains(t, string(file), canary)
}

func TestEqualRequestsWithAKeyAreOneJob(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	post := func(body string, headers ...string) *http.Response {
		return s.do("POST", "/reports/generate", body, append([]string{"Idempotency-Key", "k-1"}, headers...)...)
	}
	first := post(`{"a":1}`)
	again := post(`{"a":1}`)
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	require.Equal(t, first.Header.Get("Intent-Id"), again.Header.Get("Intent-Id"))
	require.Equal(t, text(t, first), text(t, again))
	reused := post(`{"a":2}`)
	require.Equal(t, http.StatusConflict, reused.StatusCode)
	require.Contains(t, text(t, reused), "idempotency_key_reused")
	require.Equal(t, http.StatusBadRequest, s.do("POST", "/reports/generate", `{}`, "Idempotency-Key", strings.Repeat("k", 256)).StatusCode)
	require.Len(t, s.backend.Jobs(), 1)

	other := post(`{"a":1}`, "Authorization", "Bearer somebody else")
	require.Empty(t, other.Header.Get("Idempotency-Replayed"), "another client's key is another key")
	require.NotEqual(t, first.Header.Get("Intent-Id"), other.Header.Get("Intent-Id"))
	require.Len(t, s.backend.Jobs(), 2)

	traced := post(`{"a":1}`, "X-Trace-Id", "new each time", "X-Request-Id", "too")
	require.Equal(t, first.Header.Get("Intent-Id"), traced.Header.Get("Intent-Id"), "the name of a request is no credential")
	require.Equal(t, http.StatusConflict, s.do("POST", "/reports/generate?kind=b", `{"a":1}`, "Idempotency-Key", "k-1").StatusCode)
}

func TestTheSameKeyAtAnotherHostIsAnotherTenants(t *testing.T) {
	for _, site := range []string{report, owned} {
		s := newSite(t)
		port := s.addr[strings.LastIndex(s.addr, ":"):]
		s.serve(site + "\n}\nhttp://localhost" + port + " {\n" + site)
		at := func(host string) string {
			r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.addr+"/reports/generate", strings.NewReader(`{}`))
			require.NoError(t, err)
			r.Host = host + port
			r.Header.Set("Idempotency-Key", "1")
			r.Header.Set("X-User", "ada")
			resp, err := http.DefaultTransport.RoundTrip(r)
			require.NoError(t, err)
			text(t, resp)
			return resp.Header.Get("Intent-Id")
		}
		require.NotEqual(t, at("127.0.0.1"), at("localhost"))
		require.Equal(t, at("localhost"), at("LOCALHOST"))
		require.NoError(t, caddy.Stop())
	}
}

func TestAKeyOfABackendThatCannotBeReachedIsFree(t *testing.T) {
	s := newSite(t)
	up := s.to
	s.to = caddytest.FreeAddr(t)
	s.serve(report)
	require.Equal(t, http.StatusBadGateway, s.do("POST", "/reports/generate", `{}`, "Idempotency-Key", "k").StatusCode)
	s.to = up
	s.serve(report)
	require.Equal(t, http.StatusAccepted, s.do("POST", "/reports/generate", `{}`, "Idempotency-Key", "k").StatusCode)
}

func TestASubmitCanBeAnsweredByItsStream(t *testing.T) {
	s := newSite(t)
	s.backend.EveryJobSays(legacytest.Status{State: "running", Percent: 50}, legacytest.Status{State: "done", URL: "/x"})
	s.serve(report)
	resp := s.do("POST", "/reports/generate?names=theirs", `{}`, "Accept", "text/event-stream")
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	require.NotEmpty(t, resp.Header.Get("Intent-Id"))
	body := text(t, resp)
	require.Contains(t, body, "event: intent.created")
	require.Contains(t, body, "event: intent.completed")

	s.backend.Meets(legacytest.Submits, legacytest.Code(422, ""), 1)
	require.Equal(t, 422, s.do("POST", "/reports/generate", `{}`, "Accept", "text/event-stream").StatusCode)
	plain := s.do("POST", "/reports/generate", `{}`, "Accept", "text/event-stream, application/json")
	require.Equal(t, "application/json", plain.Header.Get("Content-Type"), "both are wanted as much")
}

func TestASubmitCanWaitForTheEnd(t *testing.T) {
	s := newSite(t)
	s.backend.EveryJobSays(legacytest.Status{State: "running", Percent: 50}, legacytest.Status{State: "done", URL: "/x"})
	s.serve(report)
	resp := s.do("POST", "/reports/generate", `{}`, "Prefer", "wait=20")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "wait=20", resp.Header.Get("Preference-Applied"))
	require.JSONEq(t, `{"job_id":"job-1","status":"done","url":"/x"}`, text(t, resp))

	s.backend.EveryJobSays(legacytest.Status{State: "running", Percent: 50})
	resp = s.do("POST", "/reports/generate", `{}`, "Prefer", "wait=1")
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Contains(t, text(t, resp), "intent_id")

	id, _ := s.submit()
	got := s.do("GET", "/v1/intents/"+id, "", "Prefer", "wait=1")
	require.Contains(t, text(t, got), `"status":"IN_PROGRESS"`)
	require.Equal(t, "wait=1", got.Header.Get("Preference-Applied"))
}

func TestPagesOfConfiguredOriginsMayUseTheAPI(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(owned, "intents TO {", "intents TO {\ncors https://app.example.com", 1))
	id, _, _ := s.submitOwned("ada")
	preflight := s.do("OPTIONS", "/v1/intents/"+id, "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "DELETE")
	require.Equal(t, http.StatusNoContent, preflight.StatusCode, "without authentication")
	require.Equal(t, "https://app.example.com", preflight.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, preflight.Header.Get("Access-Control-Allow-Methods"), "DELETE")
	got := s.do("GET", "/v1/intents/"+id, "", "Origin", "https://app.example.com", "X-User", "ada")
	require.Equal(t, "https://app.example.com", got.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "true", got.Header.Get("Access-Control-Allow-Credentials"))
	evil := s.do("GET", "/v1/intents/"+id, "", "Origin", "https://evil.example", "X-User", "ada")
	require.Empty(t, evil.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, evil.Header.Values("Vary"), "Origin")
}

func TestSeveralIntentsOnOneStreamResumeExactly(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	var query []string
	for range 6 {
		id, _ := s.submit()
		query = append(query, "id="+id)
	}
	path := "/v1/intents/events/stream?" + strings.Join(query, "&")
	first := s.do("GET", path, "")
	seen, last := make(map[string]int64), ""
	read := func(resp *http.Response, until int) {
		defer resp.Body.Close()
		for range until {
			e, id := nextTogether(t, resp)
			require.Equal(t, seen[e.IntentID.String()]+1, e.Seq)
			seen[e.IntentID.String()] = e.Seq
			last = id
		}
	}
	read(first, 10)
	for _, j := range s.backend.Jobs() {
		s.backend.Finishes(j.ID)
	}
	resumed := s.do("GET", path, "", "Last-Event-ID", last)
	defer resumed.Body.Close()
	ended := 0
	for ended < 6 {
		e, id := nextTogether(t, resumed)
		require.Equal(t, seen[e.IntentID.String()]+1, e.Seq)
		seen[e.IntentID.String()] = e.Seq
		last = id
		if e.Status.Terminal() {
			ended++
		}
	}
	require.Equal(t, http.StatusNoContent, s.do("GET", path, "", "Last-Event-ID", last).StatusCode)
}

package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

func TestSubmitIsFollowedByTheWholeStory(t *testing.T) {
	s := newSite(t)
	s.backend.EveryJobSays(legacytest.Status{State: "running", Percent: 10},
		legacytest.Status{State: "running", Percent: 60}, legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	s.serve(report)
	id, job := s.submit()
	o := s.observe(id)
	events := o.until(intent.Completed)
	o.ends()
	var story []string
	for _, e := range events {
		story = append(story, string(e.Status))
	}
	require.Equal(t, "CREATED SUBMITTED DELIVERED IN_PROGRESS", strings.Join(story[:4], " "))
	last := events[len(events)-1]
	require.Equal(t, job, last.Details.JobID)
	require.JSONEq(t, `{"job_id":"job-1","status":"done","url":"/reports/files/job-1.pdf"}`, string(last.Details.Result))

	resp := s.do("GET", "/v1/intents/"+id+"/events/stream", "", "Last-Event-ID", json.Number(jsonInt(last.Seq)).String())
	require.Equal(t, http.StatusNoContent, resp.StatusCode, "an EventSource must not come back")
	require.Empty(t, text(t, resp))

	var got struct {
		OK     bool
		Intent struct {
			Status string
			JobID  string `json:"job_id"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text(t, s.do("GET", "/v1/intents/"+id, ""))), &got))
	require.True(t, got.OK)
	require.Equal(t, "COMPLETED", got.Intent.Status)
	require.Equal(t, job, got.Intent.JobID)
}

func jsonInt(n int64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func TestWhereTheDirectiveCanStand(t *testing.T) {
	for name, test := range map[string]struct{ block, prefix string }{
		"top level, alone":             {report, ""},
		"top level, before the proxy":  {report + "\nreverse_proxy TO", ""},
		"handle":                       {"@api path /reports/* /v1/intents/*\nhandle @api {\n" + report + "\n}\nhandle {\nrespond 404\n}", ""},
		"handle_path strips a prefix":  {"handle_path /api/* {\n" + report + "\n}\nrespond 404", "/api"},
		"route":                        {"route {\n" + report + "\nreverse_proxy TO\n}", ""},
		"backend block":                {strings.Replace(report, "intents TO {", "intents {\nbackend {\nreverse_proxy TO\n}", 1), ""},
		"beside a single-page app":     {"root * SPA\n@api path /reports/* /v1/intents/*\nhandle @api {\n" + report + "\n}\nhandle {\ntry_files {path} /index.html\nfile_server\n}", ""},
		"with compression and headers": {"encode gzip\nheader X-Frame-Options DENY\n" + report, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.backend.EveryJobSays(legacytest.Status{State: "done", URL: "/x"})
			dir := t.TempDir()
			writeFile(t, dir+"/index.html", "the app")
			s.serve(strings.ReplaceAll(test.block, "SPA", dir))
			resp := s.do("POST", test.prefix+"/reports/generate", `{}`, "Accept-Encoding", "gzip")
			var answer struct {
				ObserveURL string `json:"observe_url"`
				IntentID   string `json:"intent_id"`
			}
			require.NoError(t, json.Unmarshal([]byte(text(t, resp)), &answer))
			require.Equal(t, test.prefix+"/v1/intents/"+answer.IntentID+"/events/stream", answer.ObserveURL)
			require.Equal(t, "<"+test.prefix+"/v1/intents/"+answer.IntentID+`>; rel="status"`, resp.Header.Get("Link"))
			stream := s.do("GET", answer.ObserveURL, "", "Accept-Encoding", "gzip")
			require.Empty(t, stream.Header.Get("Content-Encoding"), "a compressed stream holds a megabyte")
			require.Contains(t, text(t, stream), "event: intent.completed")
		})
	}
}

func TestWhatIsNotOursPassesThrough(t *testing.T) {
	s := newSite(t)
	s.serve("respond /health 200\n" + report)
	require.Equal(t, http.StatusOK, s.do("GET", "/health", "").StatusCode)

	_, job := s.submit()
	s.backend.Says(job, "running", 33)
	resp := s.do("GET", "/reports/status/"+job, "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.JSONEq(t, `{"job_id":"job-1","status":"running","percent":33}`, text(t, resp))
	require.Equal(t, http.StatusNotFound, s.do("GET", "/reports/status/nobody", "").StatusCode)
	require.Equal(t, http.StatusOK, s.do("DELETE", "/reports/status/"+job, "").StatusCode)
}

func TestRefusalsReachTheClientAsTheyAre(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	s.backend.Meets(legacytest.Submits, legacytest.Code(422, ""), 1)
	resp := s.do("POST", "/reports/generate", `{}`)
	require.Equal(t, 422, resp.StatusCode)
	require.Empty(t, resp.Header.Get("Intent-Id"))
	require.Empty(t, resp.Header.Get("Intent-Status"))
}

func TestABackendThatIsDownIsABadGatewayForHandleErrors(t *testing.T) {
	s := newSite(t)
	s.to = caddytest.FreeAddr(t)
	s.serve(report + "\nhandle_errors {\nrespond \"sorry: {err.status_code}\" 503\n}")
	resp := s.do("POST", "/reports/generate", `{}`)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "sorry: 502", text(t, resp))
}

func TestUnknownIDsAreOneProblem(t *testing.T) {
	s := newSite(t)
	s.serve(report + "\n")
	id, _ := s.submit()
	other := strings.Replace(report, "intents TO {", "intents TO {\nname other\npath /other", 1)
	s.serve("handle /other/* {\n" + other + "\n}\n" + report)
	want := text(t, s.do("GET", "/v1/intents/00000000-0000-8000-8000-000000000000", ""))
	for _, path := range []string{"/v1/intents/nope", "/v1/intents/nope/events", "/v1/intents/nope/events/stream", "/other/" + id} {
		resp := s.do("GET", path, "")
		require.Equal(t, http.StatusNotFound, resp.StatusCode, path)
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
		require.Equal(t, want, text(t, resp), path)
	}
}

func TestHostileAnswersOfTheBackendEndInAReason(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(report, "first 50ms", "first 50ms\ngive_up 1s\ntimeout 500ms\nmax_interval 200ms", 1))
	for _, fault := range []legacytest.Fault{legacytest.Endless, legacytest.BrokenOff, legacytest.HTML} {
		s.backend.Meets(legacytest.Polls, fault, legacytest.Always)
		id, _ := s.submit()
		last := s.observe(id).until(intent.Failed)
		require.Equal(t, intent.CodeUnreadable, last[len(last)-1].Details.Error.Code)
		s.backend.Recovers()
	}
}

func TestPanicsOfABackendHandlerEndOneRequest(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(report, "intents TO {", "intents {\nbackend {\nroute {\npanics /reports/status/*\nreverse_proxy TO\n}\n}", 1))
	id, _ := s.submit()
	// The submit's answer made it IN_PROGRESS; the polls panic until that is news.
	events := s.observe(id).until(intent.InProgress)
	require.Len(t, events, 4)
	s.observe(id).untilWaiting("backend")
}

func TestAnIntentIsCanceledAtTheBackend(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(report, "poll 100ms", "cancel DELETE /reports/status/{job_id}\npoll 100ms", 1))
	id, job := s.submit()
	resp := s.do("DELETE", "/v1/intents/"+id, "", "Authorization", "Bearer mine")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Contains(t, text(t, resp), `"status":"CANCELED"`)
	asked := s.backend.AskedFor("DELETE", "/reports/status/"+job)
	require.Len(t, asked, 1)
	require.Equal(t, "Bearer mine", asked[0].Header.Get("Authorization"), "the backend decides who may")
	require.Equal(t, http.StatusConflict, s.do("DELETE", "/v1/intents/"+id, "").StatusCode)

	id, job = s.submit()
	s.backend.Meets(legacytest.Cancels, legacytest.Code(403, ""), 1)
	require.Equal(t, http.StatusBadGateway, s.do("DELETE", "/v1/intents/"+id, "").StatusCode)
	s.backend.Finishes(job)
	s.observe(id).until(intent.Completed)
}

func TestResolveCancelsAndNothingElse(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	id, _ := s.submit()
	resolve := func(body string, headers ...string) *http.Response {
		return s.do("POST", "/v1/intents/"+id+"/resolve", body, append(headers, "Content-Type", "application/json")...)
	}
	require.Equal(t, http.StatusConflict, resolve(`{"status":"COMPLETED","result":{}}`).StatusCode)
	require.Equal(t, http.StatusBadRequest, resolve(`{"status":"DONE"}`).StatusCode)
	require.Equal(t, http.StatusBadRequest, resolve(`nonsense`).StatusCode)
	require.Equal(t, http.StatusUnsupportedMediaType,
		s.do("POST", "/v1/intents/"+id+"/resolve", `{"status":"CANCELED"}`, "Content-Type", "text/plain").StatusCode)
	resp := resolve(`{"status":"CANCELED","reason":"no longer needed"}`)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body := text(t, resp)
	require.Contains(t, body, `"event_type":"intent.canceled"`)
	require.Contains(t, body, "no longer needed")
	require.Equal(t, http.StatusConflict, resolve(`{"status":"CANCELED"}`).StatusCode)
}

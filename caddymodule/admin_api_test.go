package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// adminServer is the admin endpoint's part that is ours.
func adminServer(t *testing.T) http.Handler {
	t.Helper()
	info, err := caddy.GetModule("admin.api.intents")
	require.NoError(t, err)
	route := info.New().(caddy.AdminRouter).Routes()[0]
	require.Equal(t, "/intents/", route.Pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, route.Handler.ServeHTTP(w, r))
	})
}

// admin asks the admin API.
func (s *site) admin(method, path, body string) (int, map[string]any) {
	s.t.Helper()
	w := httptest.NewRecorder()
	adminServer(s.t).ServeHTTP(w, httptest.NewRequestWithContext(s.t.Context(), method, "/intents/"+path, strings.NewReader(body)))
	var answer map[string]any
	require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &answer), "%d %s", w.Code, w.Body)
	if w.Code >= 400 {
		require.Equal(s.t, "application/problem+json", w.Header().Get("Content-Type"))
		require.EqualValues(s.t, w.Code, answer["status"])
	}
	return w.Code, answer
}

// listed are the ids in a list of the admin API.
func (s *site) listed(query string) []string {
	s.t.Helper()
	code, answer := s.admin("GET", "?"+query, "")
	require.Equal(s.t, http.StatusOK, code, answer)
	ids := []string{}
	for _, in := range answer["intents"].([]any) {
		ids = append(ids, in.(map[string]any)["intent_id"].(string))
	}
	return ids
}

// shown is one intent as the admin API shows it.
func (s *site) shown(id string) map[string]any {
	s.t.Helper()
	code, answer := s.admin("GET", id, "")
	require.Equal(s.t, http.StatusOK, code, answer)
	return answer["intent"].(map[string]any)
}

const mappedReport = `intents TO {
	job report {
		submit POST /reports/generate
		status GET /reports/status/{job_id}
		cancel DELETE /reports/status/{job_id}
		state body.status {
			in_progress pending running
			completed done
		}
		poll 100ms {
			first 50ms
		}
	}
}`

// TestTheAdminAPITellsWhichIntentsAreStuckAndWhatToWrite is the night shift's.
func TestTheAdminAPITellsWhichIntentsAreStuckAndWhatToWrite(t *testing.T) {
	s := newSite(t)
	s.serve(mappedReport)
	id, jobID := s.submit()
	well, wellJob := s.submit()
	s.backend.Says(jobID, "running", 40)
	o := s.observe(id)
	o.until(intent.InProgress)
	s.backend.SaysAll(jobID, legacytest.Status{State: "archived", Percent: 41, Step: "Bearer abcdefgh12345678"})
	for o.next().Details.UnknownState != "archived" {
	}
	s.backend.Finishes(wellJob)
	s.observe(well).until(intent.Completed)

	require.Equal(t, []string{id}, s.listed("unknown=*"))
	require.Equal(t, []string{id}, s.listed("unknown=archived&status=in_progress&running=true"))
	require.Equal(t, []string{well}, s.listed("status=completed"))
	both := s.listed("job=report&scope=default&older=0s") // made in one second, in any order
	require.ElementsMatch(t, []string{well, id}, both)
	require.Empty(t, s.listed("older=10m"))
	require.Empty(t, s.listed("unchanged=1h"))
	require.Empty(t, s.listed("waiting=*"))
	_, page := s.admin("GET", "?limit=1", "")
	require.Equal(t, both[0], page["next"])
	require.Equal(t, both[1:], s.listed("before="+both[0]))

	code, answer := s.admin("POST", id+"/poll", "")
	require.Equal(t, http.StatusOK, code, answer)
	in := answer["intent"].(map[string]any)
	require.Equal(t, map[string]any{
		"word": "archived", "job": "report", "within": "state body.status", "add": "completed archived",
		"or": []any{"in_progress", "failed", "canceled", "timed_out"},
	}, in["unknown"])
	last := in["last_poll"].(map[string]any)
	require.EqualValues(t, 200, last["code"])
	require.Contains(t, last["body"], `"status":"archived"`)
	require.NotContains(t, last["body"], "abcdefgh")
	require.Contains(t, last["decided"], map[string]any{"line": "state body.status", "value": `"archived"`})
	require.Equal(t, true, in["holder"].(map[string]any)["here"])
	require.EqualValues(t, 1, in["watchers"].(map[string]any)["streams"])
	require.NotEmpty(t, in["next_poll_at"])
	require.GreaterOrEqual(t, len(in["events"].([]any)), 5)

	s.serve(strings.Replace(mappedReport, "completed done", "completed done archived", 1))
	o.until(intent.Completed)
	require.Empty(t, s.listed("running=true"))
	require.NotContains(t, s.shown(id), "unknown")
}

func TestTheLineForAnUnknownWordKeepsTheWordsOfAPreset(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"doc":"Reports.","job":{
		"submit":{"method":"POST","path":"/reports/generate"},"status":{"target":"/reports/status/{job_id}"},
		"state":{"expr":"body.status","words":{"in_progress":["pending","running"],"completed":["done"]}}}}`), 0o600))
	const site = `intents TO {
		job report {
			preset_file FILE
			poll 100ms
			STATE
		}
	}`
	config := func(state string) string { return strings.NewReplacer("FILE", file, "STATE", state).Replace(site) }
	s.serve(config(""))
	id, jobID := s.submit()
	s.backend.Says(jobID, "archived", 40)
	o := s.observe(id)
	for o.next().Details.UnknownState != "archived" {
	}
	said := s.shown(id)["unknown"].(map[string]any)
	require.Equal(t, "state", said["within"])

	s.serve(config(said["within"].(string) + " {\n" + said["add"].(string) + "\n}"))
	o.until(intent.Completed)
	id, jobID = s.submit()
	s.backend.Finishes(jobID)
	s.observe(id).until(intent.Completed)

	s.serve(config("state body.status {\ncompleted done\n}"))
	id, jobID = s.submit()
	s.backend.Says(jobID, "running", 40)
	for o = s.observe(id); o.next().Details.UnknownState != "running"; {
	}
	require.Equal(t, "state body.status", s.shown(id)["unknown"].(map[string]any)["within"])
}

func TestAPageOfMessagesGoesOnWhereOneHasGone(t *testing.T) {
	s := newSite(t)
	hook, _ := receiver(t, http.StatusGone, http.StatusGone, http.StatusGone)
	s.serve(hooked(mappedReport, "webhook "+hook+" {\nsecret "+hookSecret+"\nallow_private\n}"))
	for range 3 {
		_, jobID := s.submit()
		s.backend.Finishes(jobID)
	}
	ids := func(answer map[string]any) (all []string) {
		for _, m := range answer["messages"].([]any) {
			all = append(all, m.(map[string]any)["id"].(string))
		}
		return all
	}
	var all []string
	require.Eventually(t, func() bool {
		_, answer := s.admin("GET", "webhooks", "")
		all = ids(answer)
		return len(all) == 3
	}, 30*time.Second, 10*time.Millisecond)
	_, page := s.admin("GET", "webhooks?limit=1", "")
	require.Equal(t, all[:1], ids(page))
	code, _ := s.admin("DELETE", "webhooks/"+all[0], "")
	require.Equal(t, http.StatusOK, code)

	code, page = s.admin("GET", "webhooks?limit=1&after="+page["next"].(string), "")
	require.Equal(t, http.StatusOK, code, page)
	require.Equal(t, all[1:2], ids(page))
	code, page = s.admin("GET", "webhooks?after="+page["next"].(string), "")
	require.Equal(t, http.StatusOK, code, page)
	require.Equal(t, all[2:], ids(page))
	require.NotContains(t, page, "next")
	code, _ = s.admin("GET", "webhooks?after=x", "")
	require.Equal(t, http.StatusBadRequest, code)
}

func TestAnOperatorCancelsAndEndsByTheAdminAPI(t *testing.T) {
	s := newSite(t)
	s.serve(mappedReport)
	canceled, jobID := s.submit()
	code, answer := s.admin("POST", canceled+"/cancel", `{"reason":"wrong year"}`)
	require.Equal(t, http.StatusOK, code, answer)
	require.Equal(t, "CANCELED", answer["intent"].(map[string]any)["status"])
	require.Len(t, s.backend.AskedFor("DELETE", "/reports/status/"+jobID), 1)

	failed, jobID := s.submit()
	code, answer = s.admin("POST", failed+"/end", `{"reason":"lost in the move","status":"failed","category":"gateway"}`)
	require.Equal(t, http.StatusOK, code, answer)
	require.Equal(t, map[string]any{"code": "ended_by_operator", "message": "lost in the move", "category": "gateway", "retryable": false},
		answer["intent"].(map[string]any)["error"])
	require.Empty(t, s.backend.AskedFor("DELETE", "/reports/status/"+jobID))
	for _, action := range []string{"/poll", "/cancel", "/end"} {
		code, answer = s.admin("POST", failed+action, "")
		require.Equal(t, http.StatusConflict, code)
		require.Equal(t, "ended", answer["error"].(map[string]any)["code"])
	}
}

func TestAskingTheAdminAPIForNonsenseIsRefusedWithTheReason(t *testing.T) {
	s := newSite(t)
	s.serve(mappedReport)
	id, _ := s.submit()
	for path, want := range map[string]string{
		"GET ?status=stuck":                   `status: "stuck" is none; there are CREATED`,
		"GET ?older=soon":                     `older: "soon" is no duration; write for example 10m`,
		"GET ?unchanged=-5m":                  `unchanged: "-5m" is no duration`,
		"GET ?limit=0":                        `limit: "0" is no number from 1 to 1000`,
		"GET ?before=x":                       `before: "x" is not the next of a page`,
		"GET ?running=perhaps":                `running: "perhaps" is not true or false`,
		"GET ?state=done":                     `"state" is unknown here; there is scope, job`,
		"GET ?status=%zz":                     `the query: invalid URL escape "%zz"`,
		"GET ?status=failed&status=completed": `status: there are 2; write one`,
		"GET ?unknown=":                       `unknown: it is empty; write a value, or leave it out`,
		"GET changes?job=":                    `job: it is empty`,
		"GET stats?job=report":                `"job" is unknown here; there is store`,
		"POST drain?all=true":                 `"all" is unknown here`,
		"GET " + id + "?job=report":           `"job" is unknown here`,
		"GET stats?store=" + url.QueryEscape("bolt:/nowhere"): `store: "bolt:/nowhere" is not in use; write one of ["`,
		"GET changes?id=x":                           `id: "x" is no intent's id`,
		"GET nonsense":                               `"nonsense" is no intent's id`,
		"GET webhooks/nonsense":                      `"nonsense" is no message's id`,
		"GET webhooks?all=2x":                        `all: "2x" is not true or false`,
		"POST " + id + `/end {"why":1}`:              `the body: json: unknown field "why"`,
		"POST " + id + `/end {"status":"COMPLETED"}`: `status: "COMPLETED" is not how an operator can end`,
		"POST " + id + `/end {"category":"backend"}`: `category: "backend" is not whose error`,
	} {
		method, rest, _ := strings.Cut(path, " ")
		where, body, _ := strings.Cut(rest, " ")
		code, answer := s.admin(method, where, body)
		require.Equal(t, http.StatusBadRequest, code, path)
		require.Contains(t, answer["detail"], want, path)
	}
	code, _ := s.admin("GET", intent.NewID(time.Now(), 0).String(), "")
	require.Equal(t, http.StatusNotFound, code)
	code, _ = s.admin("DELETE", id, "")
	require.Equal(t, http.StatusMethodNotAllowed, code)
	code, _ = s.admin("GET", id+"/poll", "")
	require.Equal(t, http.StatusMethodNotAllowed, code)
	code, _ = s.admin("GET", "a/b/c", "")
	require.Equal(t, http.StatusNotFound, code)
}

func TestADrainEndsStreamsUntilItIsTakenBack(t *testing.T) {
	s := newSite(t)
	s.serve(mappedReport)
	id, jobID := s.submit()
	o := s.observe(id)
	o.until(intent.InProgress)
	_, answer := s.admin("POST", "drain", "")
	require.Equal(t, true, answer["draining"])
	for _, err := o.tryNext(); err == nil; _, err = o.tryNext() {
	}
	refused := s.do("GET", "/v1/intents/"+id+"/events/stream", "")
	require.Equal(t, http.StatusServiceUnavailable, refused.StatusCode)
	_, answer = s.admin("DELETE", "drain", "")
	require.Equal(t, false, answer["draining"])
	s.backend.Finishes(jobID)
	s.observe(id).until(intent.Completed)
}

func TestStatsTellWhatIsKeptAndHowBackendsStand(t *testing.T) {
	s := newSite(t)
	s.serve(mappedReport)
	id, _ := s.submit()
	s.observe(id).until(intent.InProgress)
	code, answer := s.admin("GET", "stats", "")
	require.Equal(t, http.StatusOK, code)
	stats := answer["stores"].([]any)[0].(map[string]any)
	job := stats["backends"].([]any)[0].(map[string]any)["jobs"].([]any)[0].(map[string]any)
	require.Equal(t, "report", job["job"])
	require.Equal(t, "closed", job["breaker"])
	require.EqualValues(t, 1, job["active"].(map[string]any)["IN_PROGRESS"])

	s.serve(`intents TO {
		job other {
			submit POST /others
			status GET /others/{job_id}
		}
	}`)
	_, answer = s.admin("GET", "stats", "")
	parked := answer["stores"].([]any)[0].(map[string]any)["parked"].([]any)[0].(map[string]any)
	require.Equal(t, "report", parked["job"])
	require.EqualValues(t, 1, parked["parked"])
	require.NotContains(t, parked, "breaker")
	_, answer = s.admin("GET", "?job=report", "")
	require.Equal(t, true, answer["intents"].([]any)[0].(map[string]any)["parked"])
	_, answer = s.admin("GET", id, "")
	require.Equal(t, true, answer["intent"].(map[string]any)["parked"])
}

func TestChangesComeAtOnceAndThenAtMostOnceASecond(t *testing.T) {
	s := newSite(t)
	s.serve(mappedReport)
	id, jobID := s.submit()
	other, _ := s.submit()
	server := httptest.NewServer(adminServer(t))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/intents/changes?id="+id, nil)
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	frames := sse.NewReader(resp.Body)
	next := func() (at time.Time, rows []string, statuses []string) {
		frame, err := frames.Next()
		require.NoError(t, err)
		require.Equal(t, "change", frame.Event)
		var c struct {
			At      time.Time
			Intents []struct {
				IntentID string `json:"intent_id"`
				Status   string
			}
			Stores []map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(frame.Data), &c))
		require.Len(t, c.Stores, 1)
		for _, in := range c.Intents {
			rows, statuses = append(rows, in.IntentID), append(statuses, in.Status)
		}
		return c.At, rows, statuses
	}
	before, rows, _ := next()
	require.Equal(t, []string{id}, rows)
	for percent := range 5 {
		s.backend.Says(jobID, "running", 10*percent)
	}
	s.backend.Finishes(jobID)
	for {
		at, rows, statuses := next()
		require.GreaterOrEqual(t, at.Sub(before), time.Second)
		require.NotContains(t, rows, other)
		if before = at; len(statuses) > 0 && statuses[0] == "COMPLETED" {
			break
		}
	}
	require.NoError(t, caddy.Stop())
	for _, err := frames.Next(); err == nil; _, err = frames.Next() { // the stores are closing
	}
}

func TestDeadLettersAreListedShownSentAgainAndDiscarded(t *testing.T) {
	s := newSite(t)
	hook, got := receiver(t, http.StatusGone, http.StatusGone)
	s.serve(hooked(mappedReport, "webhook "+hook+"/hook?key=hush {\nsecret "+hookSecret+"\nallow_private\n}"))
	id, jobID := s.submit()
	other, otherJob := s.submit()
	s.backend.Finishes(jobID)
	s.backend.Finishes(otherJob)
	var letters []any
	require.Eventually(t, func() bool {
		_, answer := s.admin("GET", "webhooks", "")
		letters = answer["messages"].([]any)
		return len(letters) == 2
	}, 30*time.Second, 10*time.Millisecond)
	byIntent := make(map[string]map[string]any)
	for _, l := range letters {
		byIntent[l.(map[string]any)["intent_id"].(string)] = l.(map[string]any)
	}
	dead := byIntent[id]
	require.Equal(t, true, dead["dead"])
	require.Equal(t, hook+"/hook", dead["to"], "without its query")
	require.Equal(t, "it answered 410: it wants no more", dead["failure"])
	require.Equal(t, "intent.completed", dead["event_type"])

	_, page := s.admin("GET", "webhooks?limit=1", "")
	require.Len(t, page["messages"], 1)
	_, rest := s.admin("GET", "webhooks?after="+page["next"].(string), "")
	require.Len(t, rest["messages"], 1)
	require.NotEqual(t, page["messages"], rest["messages"])

	code, shown := s.admin("GET", "webhooks/"+dead["id"].(string), "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, id, shown["event"].(map[string]any)["intent_id"])

	code, _ = s.admin("POST", "webhooks/"+dead["id"].(string)+"/replay", "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, id, next(t, got).Data.Event.IntentID.String())
	code, _ = s.admin("DELETE", "webhooks/"+byIntent[other]["id"].(string), "")
	require.Equal(t, http.StatusOK, code)
	require.Eventually(t, func() bool {
		_, answer := s.admin("GET", "webhooks?all=true", "")
		return len(answer["messages"].([]any)) == 0
	}, 30*time.Second, 10*time.Millisecond)
	code, answer := s.admin("POST", "webhooks/"+dead["id"].(string)+"/replay", "")
	require.Equal(t, http.StatusNotFound, code, answer)
}

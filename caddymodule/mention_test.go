package caddymodule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// logging is a site with an access log that has our placeholders, and a header.
func (s *site) logging(site string) (block, file string) {
	file = filepath.Join(s.t.TempDir(), "access.log")
	return "log {\noutput file " + file + "\nformat json\n}\n" +
		"log_append intent {http.intents.id}\nlog_append job {http.intents.job}\nlog_append intent_status {http.intents.status}\n" +
		"header >X-About \"{http.intents.job} {http.intents.id}\"\n" + site, file
}

// A mentioned is what an access log says of one request.
type mentioned struct {
	Intent, Job string
	Status      string                       `json:"intent_status"`
	Request     struct{ Method, URI string } `json:"request"`
}

// mentions returns the line of the last request of this kind.
func mentions(t *testing.T, file, method, uri string) mentioned {
	t.Helper()
	var found mentioned
	require.Eventually(t, func() bool {
		lines, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(lines)) {
			var m mentioned
			require.NoError(t, json.Unmarshal([]byte(line), &m), line)
			if m.Request.Method == method && strings.HasPrefix(m.Request.URI, uri) {
				found = m
			}
		}
		return found.Request.Method != ""
	}, 10*time.Second, 10*time.Millisecond, "%s %s is not in the log", method, uri)
	return found
}

func TestAnAccessLogTellsWhichIntentARequestIsAbout(t *testing.T) {
	s := newSite(t)
	block, file := s.logging(report)
	s.serve(block)
	resp := s.do("POST", "/reports/generate", `{}`)
	id := resp.Header.Get("Intent-Id")
	require.Equal(t, "report "+id, resp.Header.Get("X-About"))
	text(t, resp)
	m := mentions(t, file, "POST", "/reports/generate")
	require.Equal(t, []string{id, "report", "IN_PROGRESS"}, []string{m.Intent, m.Job, m.Status})

	job := s.backend.Jobs()[0].ID
	status := "/reports/status/" + job
	require.Equal(t, "report "+id, s.do("GET", status, "").Header.Get("X-About"), "its own client asked")
	s.backend.Finishes(job)
	o := s.observe(id)
	o.until(intent.Completed)
	o.ends()
	require.Equal(t, "COMPLETED", mentions(t, file, "GET", "/v1/intents/"+id+"/events/stream").Status)

	text(t, s.do("GET", "/v1/intents/"+id, ""))
	require.Equal(t, id, mentions(t, file, "GET", "/v1/intents/"+id).Intent)
}

func TestPlaceholdersAreEmptyWhereThereIsNoIntent(t *testing.T) {
	s := newSite(t)
	block, file := s.logging(report)
	s.serve(block)
	resp := s.do("GET", "/elsewhere", "")
	require.Equal(t, " ", resp.Header.Get("X-About")+" ")
	require.Equal(t, mentioned{}.Intent, mentions(t, file, "GET", "/elsewhere").Intent)
	text(t, s.do("GET", "/v1/intents/6b057527-47d8-86cb-8d6b-673ea475b712", ""))
	require.Empty(t, mentions(t, file, "GET", "/v1/intents/6b").Intent, "an id that somebody made up")

	one, _ := s.submit()
	two, _ := s.submit()
	resp = s.do("GET", "/v1/intents/events/stream?id="+one+"&id="+two+"&wait_seconds=0", "")
	require.NotContains(t, resp.Header.Get("X-About"), one)
	require.NotContains(t, resp.Header.Get("X-About"), two)
}

// TestNobodyIsToldOfAnothersIntent by a header that names it.
func TestNobodyIsToldOfAnothersIntent(t *testing.T) {
	s := newSite(t)
	block, _ := s.logging(strings.Replace(report, "job report", "owner {http.request.header.X-User}\njob report", 1))
	s.serve(block)
	resp := s.do("POST", "/reports/generate", `{}`, "X-User", "ada")
	id := resp.Header.Get("Intent-Id")
	text(t, resp)
	status := "/reports/status/" + s.backend.Jobs()[0].ID
	for range 2 {
		require.Contains(t, s.do("GET", status, "", "X-User", "ada").Header.Get("X-About"), id)
		require.NotContains(t, s.do("GET", status, "", "X-User", "eve").Header.Get("X-About"), id)
		require.NotContains(t, s.do("GET", "/v1/intents/"+id, "", "X-User", "eve").Header.Get("X-About"), id)
	}
}

func TestTheBackendBlockKnowsWhatAPollIsAbout(t *testing.T) {
	s := newSite(t)
	s.serve(`intents {
		backend {
			reverse_proxy TO {
				header_up X-About "{http.intents.job} {http.intents.id} {http.intents.status}"
			}
		}
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id}
			poll 100ms {
				first 50ms
			}
		}
	}`)
	id := s.finished()
	polls := s.backend.AskedFor("GET", "/reports/status/"+s.backend.Jobs()[0].ID)
	require.Equal(t, "report "+id+" IN_PROGRESS", polls[len(polls)-1].Header.Get("X-About"))
}

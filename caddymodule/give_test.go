package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestAResultOfTheBackendIsGivenToItsOwnerAndKeptByNoCache(t *testing.T) {
	s := newSite(t)
	s.serve(`handle_path /api/* {
		intents {
			backend {
				header >+Access-Control-Allow-Origin https://app.example.com
				header >Cache-Control "public, max-age=3600"
				rewrite /reports/files/* {http.request.uri.path}?from={http.request.uri.path.file}
				reverse_proxy TO
			}
			owner {http.request.header.X-User}
			cors https://app.example.com
			job report {
				submit POST /reports/generate
				status GET /reports/status/{job_id}
				result body.url
				poll 100ms {
					first 50ms
				}
			}
		}
	}`)
	var made struct {
		IntentID   string `json:"intent_id"`
		JobID      string `json:"job_id"`
		ObserveURL string `json:"observe_url"`
	}
	require.NoError(t, json.Unmarshal([]byte(text(t, s.do("POST", "/api/reports/generate", `{}`, "X-User", "ada"))), &made))
	result := "/api/v1/intents/" + made.IntentID + "/result"
	early := s.do("GET", result, "", "X-User", "ada")
	require.Equal(t, http.StatusConflict, early.StatusCode)
	s.backend.Finishes(made.JobID)
	text(t, s.do("GET", made.ObserveURL, "")) // to its end

	_, token, _ := strings.Cut(made.ObserveURL, "?token=")
	given := s.do("GET", result+"?token="+token, "", "Origin", "https://app.example.com", "Authorization", "Bearer theirs",
		"Referer", "https://app.example.com"+made.ObserveURL)
	require.Equal(t, http.StatusOK, given.StatusCode)
	require.Contains(t, text(t, given), "%PDF")
	require.Equal(t, []string{"no-store"}, given.Header.Values("Cache-Control"))
	require.Equal(t, []string{"https://app.example.com"}, given.Header.Values("Access-Control-Allow-Origin"))
	asked := s.backend.Asked()
	last := asked[len(asked)-1]
	require.Regexp(t, `^/reports/files/(.+)\?from=(.+)$`, last.Path, "placeholders in the backend block are about the result's URL")
	require.Equal(t, "Bearer theirs", last.Header.Get("Authorization"))
	for _, a := range asked {
		require.NotContains(t, a.Path+a.Header.Get("Referer"), token)
	}
	require.Equal(t, http.StatusNotFound, s.do("GET", result, "", "X-User", "eve").StatusCode)
	require.Equal(t, http.StatusUnauthorized, s.do("GET", result, "").StatusCode)
}

// Their passwords are "alice's" and "eve's".
const accounts = `basic_auth {
	alice $2a$04$x/FaZ6QMU9FiyaPkqZmIpOgcwVkdsW/d02dI8la37/JMvhqIGty9y
	eve $2a$04$krspL0SpULvK5Xz8jfAAEeer6ngmw7x9wfmfdNEhQLsWqgbICbPb.
}
`

// as sends a request as a user of accounts.
func (s *site) as(user, method, path string, headers ...string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, nil)
	require.NoError(s.t, err)
	r.SetBasicAuth(user, user+"'s")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(s.t, err)
	return resp
}

func TestUsersOfBasicAuthSeeTheirOwnAndTokensAreInNoAccessLog(t *testing.T) {
	s := newSite(t)
	accessLog := filepath.Join(t.TempDir(), "access.log")
	s.serve("log {\noutput file " + accessLog + "\n}\n@closed not path /v1/intents/*/events/stream\n" +
		strings.Replace(accounts, "basic_auth {", "basic_auth @closed {", 1) +
		strings.Replace(report, "intents TO {", "intents TO {\nowner {http.auth.user.id}", 1))
	made := s.as("alice", "POST", "/reports/generate")
	id := made.Header.Get("Intent-Id")
	require.NotEmpty(t, id)
	var answer struct {
		JobID      string `json:"job_id"`
		ObserveURL string `json:"observe_url"`
	}
	require.NoError(t, json.Unmarshal([]byte(text(t, made)), &answer))
	require.Equal(t, http.StatusOK, s.as("alice", "GET", "/v1/intents/"+id).StatusCode)
	require.Equal(t, http.StatusNotFound, s.as("eve", "GET", "/v1/intents/"+id).StatusCode)
	require.Contains(t, text(t, s.as("alice", "GET", "/v1/intents")), id)
	require.NotContains(t, text(t, s.as("eve", "GET", "/v1/intents")), id)
	require.Equal(t, http.StatusUnauthorized, s.do("GET", "/v1/intents/"+id+"/events/stream", "").StatusCode)

	// An EventSource sends no headers.
	s.backend.Finishes(answer.JobID)
	require.Contains(t, text(t, s.do("GET", answer.ObserveURL, "")), string(intent.TypeCompleted))
	_, token, _ := strings.Cut(answer.ObserveURL, "?token=")
	for _, odd := range []string{"?%74oken=", "?a=1;token=", "?token=x&token="} {
		s.do("GET", "/v1/intents/"+id+"/events/stream"+odd+token, "").Body.Close()
	}
	require.NoError(t, caddy.Stop()) // which writes the log out
	log, err := os.ReadFile(accessLog)
	require.NoError(t, err)
	require.Contains(t, string(log), "/v1/intents/"+id)
	require.NotContains(t, string(log), token)
}

func TestASecretIsMadeOnceKeptToOneselfAndReplacedWithoutLoss(t *testing.T) {
	s := newSite(t)
	kept := filepath.Join(s.storage(), "intents", "secret")
	config := s.config(owned)
	var parsed *caddy.Config
	require.NoError(t, json.Unmarshal(config, &parsed))
	require.NoError(t, caddy.Validate(parsed))
	require.NoFileExists(t, kept, "to validate is not to start")

	s.serve(owned)
	secret, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(secret), 32)
	info, err := os.Stat(kept)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	id, _, observeURL := s.submitOwned("ada")

	require.NoError(t, caddy.Stop())
	s.serve(owned)
	require.Equal(t, http.StatusOK, s.do("GET", "/v1/intents/"+id, "", "X-User", "ada").StatusCode, "after a restart")
	again, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.Equal(t, secret, again)

	// The secret made becomes the previous one of a written one.
	var loaded map[string]any
	require.NoError(t, json.Unmarshal(config, &loaded))
	rotate := func(secrets ...string) {
		loaded["apps"].(map[string]any)["intents"].(map[string]any)["secret"] = secrets
		rotated, err := json.Marshal(loaded)
		require.NoError(t, err)
		require.NoError(t, caddy.Load(rotated, true))
	}
	current := filepath.Join(t.TempDir(), "secret")
	writeFile(t, current, strings.Repeat("s", 40)+"\n")
	rotate("{file."+current+"}", "{file."+kept+"}")
	require.Equal(t, http.StatusOK, s.do("GET", "/v1/intents/"+id, "", "X-User", "ada").StatusCode)
	require.Contains(t, text(t, s.do("GET", "/v1/intents", "", "X-User", "ada")), id)
	require.Equal(t, http.StatusOK, s.do("GET", strings.Replace(observeURL, "/events/stream", "", 1), "").StatusCode)
	rotate("{file." + current + "}")
	require.Equal(t, http.StatusNotFound, s.do("GET", "/v1/intents/"+id, "", "X-User", "ada").StatusCode)
	require.Equal(t, http.StatusUnauthorized, s.do("GET", observeURL, "").StatusCode)
}

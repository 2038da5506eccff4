//go:build e2e

package caddymodule_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// A cage is a real Caddy that logs all it can, among credentials that must not get
// out of it.
type cage struct {
	*process
	canaries map[string]string // what a client, the config or the backend keeps secret
	tokens   map[string]string // what clients were given to observe with
	heard    strings.Builder   // heads and bodies of all answers to clients
}

// canary is a secret that is nowhere else.
func (c *cage) canary(name string) string {
	if c.canaries[name] == "" {
		c.canaries[name] = "canary-" + strings.ToLower(name) + "-" + rand.Text()
	}
	return c.canaries[name]
}

func newCage(t *testing.T) *cage {
	c := &cage{process: newProcess(t), canaries: make(map[string]string), tokens: make(map[string]string)}
	// Besides the usual job the backend has one whose status URL is a secret itself, as
	// with signed URLs.
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/answered" || r.URL.Path == "/queued" {
			r.URL.Path = "/reports/generate"
		}
		if r.URL.Path != "/signed" {
			c.backend.ServeHTTP(w, r)
			return
		}
		c.backend.Says("signed", "running", 10)
		w.Header().Set("Location", "/reports/status/signed?sig="+c.canary("signature"))
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(backend.Close)
	c.Env = []string{"CANARY=" + c.canary("environment")}
	text := `{
	debug
	admin ADMIN
	persist_config off
	storage file_system STORAGE
	intents {
		store bolt STORE
		secret SECRET
	}
}
http://ADDR {
	log
	intents TO {
		owner {http.request.header.X-User}
		job signed {
			submit POST /signed
			status_url headers.location
			poll 100ms
		}
		job answered {
			submit POST /answered
			status GET /reports/status/{job_id}
			respond intent
			poll 100ms
		}
		job queued {
			submit POST /queued
			status GET /reports/status/{job_id}
			copy_headers Authorization Cookie X-Api-Key
			queue
			poll 100ms
		}
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id} {
				header X-Fixed {env.CANARY}
				header Proxy-Authorization CONFIGURED
			}
			cancel DELETE /reports/status/{job_id}
			result body.url
			copy_headers Authorization Cookie X-Api-Key
			poll 100ms {
				first 50ms
				give_up 1h
			}
		}
	}
}
`
	c.Configure(strings.NewReplacer("ADMIN", c.Admin, "ADDR", c.addr, "TO", backend.Listener.Addr().String(), "STORAGE", c.storage(), "STORE", c.store,
		"SECRET", c.canary("secret"), "CONFIGURED", c.canary("configured")).Replace(text))
	c.Start()
	return c
}

// ask sends a request with all the credentials that a client may have, and returns
// what is answered to its end.
func (c *cage) ask(method, path, body string, headers ...string) (*http.Response, string) {
	c.t.Helper()
	resp := c.do(method, path, body, append([]string{
		"X-User", "ada", "Authorization", "Bearer " + c.canary("Authorization"), "Cookie", "session=" + c.canary("Cookie"),
		"X-Api-Key", c.canary("X-Api-Key"),
	}, headers...)...)
	resp.Header.Del("Location") // the backend tells it to who has submitted, and nobody else
	var head strings.Builder
	require.NoError(c.t, resp.Header.Write(&head))
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body) // some break off
	fmt.Fprintf(&c.heard, "%s\n%s\n", head.String(), said)
	return resp, string(said)
}

// starts submits a job and returns its intent, the backend's name for it, and the
// token to observe it with.
func (c *cage) starts(path string, headers ...string) (id, job, token string) {
	c.t.Helper()
	body := "body"
	if path == "/queued" {
		body = "queued body"
	}
	resp, said := c.ask("POST", path, `{"password":"`+c.canary(body)+`"}`, headers...)
	require.Equal(c.t, http.StatusAccepted, resp.StatusCode, said)
	var answer struct {
		JobID string `json:"job_id"`
	}
	if said != "" {
		require.NoError(c.t, json.Unmarshal([]byte(said), &answer))
	}
	id = resp.Header.Get("Intent-Id")
	require.NotEmpty(c.t, id)
	return id, answer.JobID, tokenIn(said)
}

// tokenIn is the first observe token in an answer, "" if there is none.
func tokenIn(said string) string {
	_, after, _ := strings.Cut(said, "?token=")
	token, _, _ := strings.Cut(after, `"`)
	return token
}

// reaches follows an intent until it is in a status.
func (c *cage) reaches(id string, status intent.Status) {
	c.t.Helper()
	for _, e := range c.observe(id, "X-User", "ada").until(status) {
		text, err := json.Marshal(e)
		require.NoError(c.t, err)
		c.heard.Write(text)
	}
}

// wholeLife is a whole life, asked about in every way.
func (c *cage) wholeLife() {
	c.t.Helper()
	id, job, token := c.starts("/reports/generate", "Idempotency-Key", c.canary("key"))
	c.tokens["of the whole life"] = token
	c.ask("POST", "/reports/generate", `{"password":"`+c.canary("body")+`"}`, "Idempotency-Key", c.canary("key"))
	c.ask("POST", "/reports/generate", `another`, "Idempotency-Key", c.canary("key"))
	c.reaches(id, intent.InProgress)
	for _, path := range []string{"", "/events", "/result", "/nonsense"} {
		c.ask("GET", "/v1/intents/"+id+path, "")
		c.ask("GET", "/v1/intents/"+id+path+"?token="+token, "", "X-User", "")
		c.ask("GET", "/v1/intents/"+id+path+"?token=x"+token, "", "X-User", "")
		c.ask("GET", "/v1/intents/"+id+path+"?token="+token+"&%zz;", "", "X-User", "")
	}
	c.ask("GET", "/v1/intents", "")
	c.ask("GET", "/reports/status/"+job, "")
	c.ask("GET", "/reports/status/unknown", "")
	c.backend.Finishes(job)
	c.ask("GET", "/v1/intents/"+id+"/events/stream?token="+token, "", "X-User", "")
	c.ask("GET", "/v1/intents/"+id+"/result?token="+token, "", "X-User", "")
	c.ask("DELETE", "/v1/intents/"+id, "")
}

// ownAnswers gets answers of our own, which are given again with another token, and
// has submits kept until they are sent.
func (c *cage) ownAnswers() {
	c.t.Helper()
	for _, path := range []string{"/answered", "/queued"} {
		key := c.canary("key of " + path)
		_, _, c.tokens["of "+path] = c.starts(path, "Idempotency-Key", key)
		_, _, c.tokens["of a repeat of "+path] = c.starts(path, "Idempotency-Key", key)
	}
	_, said := c.ask("POST", "/v1/intents", `{"intent_type":"queued","payload":{"password":"`+c.canary("queued body")+`"}}`, "Content-Type", "application/json")
	var created struct {
		IntentID string `json:"intent_id"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(said), &created))
	c.tokens["of a create"] = tokenIn(said)
	c.reaches(created.IntentID, intent.InProgress)
}

// trouble has polls go wrong in every way, and a cancel before one that does not.
func (c *cage) trouble() {
	c.t.Helper()
	id, job, token := c.starts("/reports/generate")
	c.tokens["of trouble"] = token
	c.reaches(id, intent.InProgress)
	for _, fault := range []legacytest.Fault{
		legacytest.Code(500, ""), legacytest.Code(429, "0"), legacytest.Reset, legacytest.BrokenOff, legacytest.HTML, legacytest.Truncated, legacytest.Code(403, ""),
	} {
		asked := len(c.backend.AskedFor("GET", "/reports/status/"+job))
		c.backend.Meets(legacytest.Polls, fault, legacytest.Always)
		for len(c.backend.AskedFor("GET", "/reports/status/"+job)) < asked+1 {
			c.ask("GET", "/v1/intents/"+id, "")
		}
	}
	c.backend.Meets(legacytest.Polls, legacytest.Code(401, ""), legacytest.Always)
	c.observe(id, "X-User", "ada").untilWaiting("credentials")
	c.backend.Recovers()
	for _, fault := range []legacytest.Fault{legacytest.Reset, legacytest.Code(500, ""), legacytest.HTML} {
		c.backend.Meets(legacytest.Cancels, fault, legacytest.Always)
		c.ask("DELETE", "/v1/intents/"+id, "")
	}
	c.backend.Recovers()
	c.ask("POST", "/v1/intents/"+id+"/resolve", `{"status":"CANCELED"}`, "Content-Type", "application/json")
	c.reaches(id, intent.Canceled)
}

// lostSubmits has submits go wrong.
func (c *cage) lostSubmits() {
	c.t.Helper()
	for _, fault := range []legacytest.Fault{legacytest.Code(500, ""), legacytest.Reset, legacytest.AnswerLost, legacytest.BrokenOff, legacytest.HTML} {
		c.backend.Meets(legacytest.Submits, fault, 1)
		c.ask("POST", "/reports/generate", `{}`)
		c.backend.Meets(legacytest.Submits, fault, 1)
		c.ask("POST", "/reports/generate", `{}`, "Idempotency-Key", c.canary("key")+rand.Text())
	}
}

// signedURL has a status URL that is a secret.
func (c *cage) signedURL() {
	c.t.Helper()
	id, _, _ := c.starts("/signed")
	c.reaches(id, intent.InProgress)
	c.backend.Meets(legacytest.Polls, legacytest.Reset, 2)
	c.backend.Says("signed", "never heard of", 20)
	c.observe(id, "X-User", "ada").untilWaiting("")
	c.backend.Fails("signed", "it broke")
	c.reaches(id, intent.Failed)
}

func TestCanaryCredentialsGetIntoNoLogEventErrorOrStore(t *testing.T) {
	c := newCage(t)
	c.wholeLife()
	c.ownAnswers()
	c.trouble()
	c.lostSubmits()
	c.signedURL()

	require.True(t, c.carried(), "or nothing is shown: the polls have to carry what must not be seen")
	c.Terminate()
	require.Zero(t, c.ExitCode())
	store, err := os.ReadFile(c.store)
	require.NoError(t, err)
	ours, all := c.lines()
	require.Contains(t, ours, `"level":"debug"`)
	for name, token := range c.tokens {
		require.Len(t, token, 28, name)
		require.False(t, strings.Contains(all, token), "the log has the token %s", name)
		require.False(t, holds(store, token), "the store has the token %s", name)
	}
	for name, canary := range c.canaries {
		require.NotContains(t, ours, canary, name)
		require.False(t, strings.Contains(c.heard.String(), canary), "a client was told the %s", name)
		if name != "signature" { // a URL that has to be asked for
			require.False(t, holds(store, canary), "the store has the %s", name)
		}
	}
	for _, name := range []string{"Authorization", "Cookie", "secret", "body"} {
		require.False(t, strings.Contains(all, c.canary(name)), "the log has the %s", name)
	}
}

// holds reports whether a text is in a file, as it is or within base64, which is how
// bodies are in JSON.
func holds(file []byte, text string) bool {
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + text))
		whole := encoded[4 : len(encoded)-4] // the ends depend on what is around the text
		if bytes.Contains(file, []byte(whole)) {
			return true
		}
	}
	return bytes.Contains(file, []byte(text))
}

// lines are what the plugin has logged, and what all have. Caddy itself logs the
// headers of requests but for those that it knows to be secret, and the config.
func (c *cage) lines() (ours, all string) {
	c.t.Helper()
	var own strings.Builder
	for line := range strings.Lines(c.Log.String()) {
		var entry struct{ Logger string }
		require.NoError(c.t, json.Unmarshal([]byte(line), &entry), line)
		if strings.Contains(entry.Logger, "intents") {
			own.WriteString(line)
		}
	}
	return own.String(), c.Log.String()
}

// carried reports whether polls have had all the secrets that they are to have.
func (c *cage) carried() bool {
	for _, a := range c.backend.Asked() {
		h := a.Header
		if h.Get("User-Agent") == "caddy-intents" && strings.Contains(h.Get("Authorization"), c.canary("Authorization")) &&
			strings.Contains(h.Get("Cookie"), c.canary("Cookie")) && h.Get("X-Api-Key") == c.canary("X-Api-Key") && h.Get("X-Fixed") == c.canary("environment") {
			return true
		}
	}
	return false
}

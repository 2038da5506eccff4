//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// A pressed is a Caddy whose store is in trouble, and the ledger of those that use it
// meanwhile.
type pressed struct {
	*process
	clients int
	acked   []string // ids of intents that clients were told
	passed  int      // submits that got the backend's answer and no intent
}

func newPressed(t *testing.T) *pressed {
	p := &pressed{process: newProcess(t)}
	p.backend.EveryJobSays(legacytest.Status{State: "pending"}, legacytest.Status{State: "running", Percent: 50},
		legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	return p
}

// oldClient posts a job and polls its status until it is done, as clients do that know
// nothing of intents. Whatever the store does, both succeed.
func (p *pressed) oldClient() (id string) {
	p.t.Helper()
	p.clients++
	name := fmt.Sprintf("client-%d", p.clients)
	id, jobID := p.post(name)
	require.Equal(p.t, "done", p.eventually(jobID, "done"), "%s of %s\n%s", jobID, name, p.Log)
	require.Equal(p.t, 1, p.backend.Posts(name))
	return id
}

// post submits a job and notes what the client was told.
func (p *pressed) post(name string) (id, jobID string) {
	p.t.Helper()
	resp := p.do("POST", "/reports/generate", "{}", legacytest.ClientHeader, name)
	body := text(p.t, resp)
	require.Equal(p.t, http.StatusAccepted, resp.StatusCode, "%s\n%s", body, p.Log)
	var answer struct {
		JobID    string `json:"job_id"`
		IntentID string `json:"intent_id"`
	}
	require.NoError(p.t, json.Unmarshal([]byte(body), &answer), body)
	require.NotEmpty(p.t, answer.JobID)
	id = resp.Header.Get("Intent-Id")
	require.Equal(p.t, id, answer.IntentID)
	if id == "" {
		require.Equal(p.t, "unavailable", resp.Header.Get("Intent-Status"))
		p.passed++
	} else {
		p.acked = append(p.acked, id)
	}
	return id, answer.JobID
}

// ask is a status request of an old client.
func (p *pressed) ask(jobID string) (state string) {
	p.t.Helper()
	resp := p.do("GET", "/reports/status/"+jobID, "")
	body := text(p.t, resp)
	require.Equal(p.t, http.StatusOK, resp.StatusCode, "%s\n%s", body, p.Log)
	var answer struct{ Status string }
	require.NoError(p.t, json.Unmarshal([]byte(body), &answer), body)
	return answer.Status
}

// heals waits until submits make intents again.
func (p *pressed) heals() {
	p.t.Helper()
	for begun := time.Now(); p.oldClient() == ""; <-time.After(50 * time.Millisecond) {
		require.Less(p.t, time.Since(begun), patience, "no intents although nothing is wrong any more\n%s", p.Log)
	}
}

// ends waits until every acknowledged intent has ended as its job has.
func (p *pressed) ends() {
	p.t.Helper()
	for _, id := range p.acked {
		var answer struct {
			Intent struct {
				Status intent.Status `json:"status"`
			} `json:"intent"`
		}
		for begun := time.Now(); answer.Intent.Status != intent.Completed; <-time.After(5 * time.Millisecond) {
			require.Less(p.t, time.Since(begun), patience, "%s is %q for ever\n%s", id, answer.Intent.Status, p.Log)
			_ = json.Unmarshal([]byte(text(p.t, p.do("GET", "/v1/intents/"+id, ""))), &answer) // or it is not there yet
		}
	}
}

// alive asserts that the process is the one that was started.
func (p *pressed) alive() {
	p.t.Helper()
	select {
	case <-p.Exited:
		require.Fail(p.t, "caddy died", "%s", p.Log)
	default:
	}
}

// audit kills the process and holds the ledger against its store.
func (p *pressed) audit() {
	p.t.Helper()
	p.Kill()
	st, err := boltstore.Open(p.store, boltstore.Options{})
	require.NoError(p.t, err)
	defer st.Close()
	for _, text := range p.acked {
		id, err := intent.ParseID(text)
		require.NoError(p.t, err)
		in, events, err := st.Events(p.t.Context(), id, 0)
		require.NoError(p.t, err, "%s was acknowledged", text)
		require.Len(p.t, events, int(in.Seq))
		for i, e := range events {
			require.EqualValues(p.t, i+1, e.Seq)
		}
	}
}

// code asks and returns what the answer begins with.
func (p *pressed) code(path string) int {
	p.t.Helper()
	resp := p.do("GET", path, "")
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// command runs one of Caddy's commands, which must succeed.
func (p *pressed) command(args ...string) string {
	p.t.Helper()
	out, err := p.Run(args...)
	require.NoError(p.t, err, out)
	return strings.TrimSpace(out)
}

// eventually asks until the job is in that state.
func (p *pressed) eventually(jobID, state string) string {
	p.t.Helper()
	begun := time.Now()
	for said := p.ask(jobID); ; said = p.ask(jobID) {
		if said == state || time.Since(begun) > patience {
			return said
		}
		<-time.After(5 * time.Millisecond)
	}
}

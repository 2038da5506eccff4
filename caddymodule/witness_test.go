//go:build e2e

package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// A witness stands before a backend and writes into the ledger what it is asked and
// answers. It has the jobs of all kinds submitted to the one URL of the backend, and
// finds jobs by key.
type witness struct {
	backend *legacytest.Backend
	ledger  *audit.Ledger

	mu    sync.Mutex
	byKey map[string]string
	jobs  map[string]*audit.Job
}

func newWitness(b *legacytest.Backend, l *audit.Ledger) *witness {
	return &witness{backend: b, ledger: l, byKey: make(map[string]string), jobs: make(map[string]*audit.Job)}
}

func (wi *witness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	came := time.Now()
	a := audit.Asked{Key: r.Header.Get("Idempotency-Key")}
	jobID, about := strings.CutPrefix(r.URL.Path, "/reports/status/")
	switch {
	case r.URL.Path == "/reports/by-key":
		wi.lookUp(w, r.URL.Query().Get("key"))
		return
	case about && r.Method == http.MethodDelete:
		a.Kind, a.Job = audit.Cancels, jobID
	case about:
		a.Kind, a.Job = audit.Polls, jobID
	case strings.HasSuffix(r.URL.Path, "/generate"):
		a.Kind, a.Client = audit.Submits, r.Header.Get(legacytest.ClientHeader)
		r.URL.Path = "/reports/generate"
	}
	answer := httptest.NewRecorder()
	whole := wi.ask(answer, r)
	if a.Answered = time.Now(); whole {
		a.Code = answer.Code
		wi.note(&a, answer.Body.Bytes())
	} else {
		wi.noteLost(&a)
	}
	// The answer may never arrive; what the backend did is written down before.
	wi.ledger.Write(audit.Entry{At: came, Asked: &a})
	maps.Copy(w.Header(), answer.Header())
	if !whole {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// ask asks the backend, and reports whether its answer is whole.
func (wi *witness) ask(w http.ResponseWriter, r *http.Request) (whole bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	wi.backend.ServeHTTP(w, r)
	return true
}

// noteLost keeps of a submit without an answer which job it has made, if any.
func (wi *witness) noteLost(a *audit.Asked) {
	if a.Kind != audit.Submits {
		return
	}
	for _, job := range wi.backend.Jobs() {
		wi.mu.Lock()
		if _, known := wi.jobs[job.ID]; job.Client == a.Client && !known {
			a.Job = job.ID
			wi.made(a)
		}
		wi.mu.Unlock()
	}
}

// made keeps that a submit has made a job. The caller holds wi.mu.
func (wi *witness) made(a *audit.Asked) {
	wi.jobs[a.Job] = &audit.Job{ID: a.Job, Client: a.Client}
	if a.Key != "" {
		wi.byKey[a.Key] = a.Job
	}
}

// note keeps what an answer told of a job.
func (wi *witness) note(a *audit.Asked, body []byte) {
	var said struct {
		JobID  string `json:"job_id"`
		Status string `json:"status"`
	}
	if json.NewDecoder(bytes.NewReader(body)).Decode(&said) != nil || said.JobID == "" {
		return
	}
	wi.mu.Lock()
	defer wi.mu.Unlock()
	if a.Kind == audit.Submits {
		a.Job = said.JobID
		wi.made(a)
	}
	end := map[string]intent.Status{"done": intent.Completed, "failed": intent.Failed, "cancelled": intent.Canceled}[said.Status]
	if job := wi.jobs[said.JobID]; a.Kind == audit.Polls && job != nil && job.Said == "" {
		job.Said = end
	}
}

func (wi *witness) lookUp(w http.ResponseWriter, key string) {
	wi.mu.Lock()
	id := wi.byKey[key]
	wi.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if id == "" {
		_, _ = w.Write([]byte(`{"jobs":[]}`))
		return
	}
	_, _ = w.Write([]byte(`{"jobs":[{"job_id":"` + id + `"}]}`))
}

// testify writes into the ledger what the backend knows by now.
func (wi *witness) testify() {
	wi.mu.Lock()
	defer wi.mu.Unlock()
	for _, job := range wi.jobs {
		known := *job
		wi.ledger.Write(audit.Entry{Job: &known})
	}
}

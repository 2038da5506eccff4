// Package legacytest is a job API as they are found in the wild, scripted: it
// answers 202 with a job id, is polled for the status, and misbehaves on demand.
// Tests of everything that talks to a backend use it.
//
//	POST   /reports/generate         202 {"job_id":"job-1","status":"pending"}
//	GET    /reports/status/{job_id}  200 {"job_id":"job-1","status":"running","percent":40,"step":"..."}
//	                                 200 {"job_id":"job-1","status":"done","url":"/reports/files/job-1.pdf"}
//	                                 200 {"job_id":"job-1","status":"failed","error":{"message":"..."}}
//	DELETE /reports/status/{job_id}  200, then "cancelled"; 409 if it is over
//	GET    /reports/files/{file}     200, a small PDF
//
// It starts no goroutine and waits only where a fault says so, so it works on a real
// socket and within a synctest bubble. A job says what the test lets it say.
package legacytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ClientHeader marks whose submit it is, for [Backend.Posts] and [Job.Client]. It is one
// that is kept of a request that is delivered later.
const ClientHeader = "X-Request-Id"

// A Status is what a job answers when it is asked.
type Status struct {
	State   string // "pending", "running", "done", "failed", "cancelled", or anything else
	Percent int
	Step    string
	URL     string // told by a job that is done
	Error   string // told by a job that failed
}

// A Job is what the backend knows of one job; its own ledger, to audit others by.
type Job struct {
	ID      string
	Client  string // of ClientHeader
	Body    string // of the submit, at most 64 KiB
	Status  Status
	Polls   int // status requests that were answered from the job, without a fault
	Cancels int

	script []Status
}

// An Asked is one request as the backend got it.
type Asked struct {
	Method string
	Path   string // with the query
	Host   string
	Header http.Header
	At     time.Time
}

// A Backend is the whole API. Its methods may be called by any number of
// goroutines.
type Backend struct {
	routes *http.ServeMux

	mu     sync.Mutex
	jobs   map[string]*Job
	order  []*Job
	script []Status
	asked  []Asked
	posts  map[string]int
	faults map[Kind]*trouble
}

// New returns a backend that knows no job and behaves well.
func New() *Backend {
	b := &Backend{
		routes: http.NewServeMux(),
		jobs:   make(map[string]*Job),
		posts:  make(map[string]int),
		faults: make(map[Kind]*trouble),
	}
	b.routes.HandleFunc("POST /reports/generate", b.faulty(Submits, b.submit))
	b.routes.HandleFunc("GET /reports/status/{job_id}", b.faulty(Polls, b.poll))
	b.routes.HandleFunc("DELETE /reports/status/{job_id}", b.faulty(Cancels, b.cancel))
	b.routes.HandleFunc("GET /reports/files/{file}", b.file)
	return b
}

func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.asked = append(b.asked, Asked{Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, Header: r.Header.Clone(), At: time.Now()})
	b.mu.Unlock()
	b.routes.ServeHTTP(w, r)
}

// ErrNoAnswer is returned by [Backend.Send] where a client of a socket would see
// the connection break.
var ErrNoAnswer = errors.New("connection reset by the backend")

// Send asks the backend without a socket in between: what breaks a connection is
// an error, and so is the end of the request's context.
func (b *Backend) Send(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = ErrNoAnswer
		default:
			panic(p)
		}
		if r.Context().Err() != nil {
			err = r.Context().Err()
		}
	}()
	b.ServeHTTP(w, r)
	return nil
}

// Says sets what a job answers from now on. A job that is not known yet is made,
// as if it had been submitted before the test began.
func (b *Backend) Says(jobID, state string, percent int) {
	b.SaysAll(jobID, Status{State: state, Percent: percent})
}

// SaysAll is Says with every field.
func (b *Backend) SaysAll(jobID string, s Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[jobID]
	if j == nil {
		j = b.add(jobID)
	}
	j.Status, j.script = s, nil
}

// Finishes ends a job well, with a file.
func (b *Backend) Finishes(jobID string) {
	b.SaysAll(jobID, Status{State: "done", URL: "/reports/files/" + jobID + ".pdf"})
}

// Fails ends a job badly.
func (b *Backend) Fails(jobID, message string) {
	b.SaysAll(jobID, Status{State: "failed", Error: message})
}

// Forgets makes a job unknown: 404.
func (b *Backend) Forgets(jobID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs, jobID)
}

// EveryJobSays gives jobs that are submitted from now on a life of their own: the
// first poll of each is answered with the first status, the second with the
// second, and the last one stays. "{id}" in a URL stands for the job.
func (b *Backend) EveryJobSays(script ...Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.script = script
}

// Jobs returns all jobs in the order in which they were made, forgotten ones too.
func (b *Backend) Jobs() []Job {
	b.mu.Lock()
	defer b.mu.Unlock()
	jobs := make([]Job, len(b.order))
	for i, j := range b.order {
		jobs[i] = *j
	}
	return jobs
}

// Job returns one job as it is now.
func (b *Backend) Job(id string) (Job, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[id]
	if j == nil {
		return Job{}, false
	}
	return *j, true
}

// Posts counts the submits of one client, those that met a fault included.
func (b *Backend) Posts(client string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.posts[client]
}

// Polls counts the polls of one job that the job itself answered.
func (b *Backend) Polls(jobID string) int {
	j, _ := b.Job(jobID)
	return j.Polls
}

// Asked returns every request so far.
func (b *Backend) Asked() []Asked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Asked(nil), b.asked...)
}

// AskedFor returns the requests with this method and path, faults included.
func (b *Backend) AskedFor(method, path string) []Asked {
	var found []Asked
	for _, a := range b.Asked() {
		if p, _, _ := strings.Cut(a.Path, "?"); a.Method == method && p == path {
			found = append(found, a)
		}
	}
	return found
}

// add makes a job. The caller holds b.mu.
func (b *Backend) add(id string) *Job {
	j := &Job{ID: id, Status: Status{State: "pending"}, script: b.script}
	b.jobs[id] = j
	b.order = append(b.order, j)
	return j
}

func (b *Backend) submit(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return // the client broke off: nothing was ordered
	}
	b.mu.Lock()
	j := b.add("job-" + strconv.Itoa(len(b.order)+1))
	j.Client, j.Body = r.Header.Get(ClientHeader), string(body)
	b.mu.Unlock()
	answer(w, http.StatusAccepted, map[string]any{"job_id": j.ID, "status": "pending"})
}

func (b *Backend) poll(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	j := b.jobs[r.PathValue("job_id")]
	if j == nil {
		b.mu.Unlock()
		unknown(w)
		return
	}
	j.Polls++
	if len(j.script) > 0 {
		j.Status, j.script = j.script[0], j.script[1:]
		j.Status.URL = strings.ReplaceAll(j.Status.URL, "{id}", j.ID)
	}
	id, s := j.ID, j.Status
	b.mu.Unlock()

	body := map[string]any{"job_id": id, "status": s.State}
	switch s.State {
	case "done":
		body["url"] = s.URL
	case "failed":
		body["error"] = map[string]any{"message": s.Error}
	default:
		body["percent"] = s.Percent
		if s.Step != "" {
			body["step"] = s.Step
		}
	}
	answer(w, http.StatusOK, body)
}

func (b *Backend) cancel(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[r.PathValue("job_id")]
	if j == nil {
		unknown(w)
		return
	}
	j.Cancels++
	switch j.Status.State {
	case "done", "failed", "cancelled":
		answer(w, http.StatusConflict, map[string]any{"error": "the job is over"})
		return
	}
	j.Status, j.script = Status{State: "cancelled"}, nil
	answer(w, http.StatusOK, map[string]any{"job_id": j.ID, "status": "cancelled"})
}

func (b *Backend) file(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/pdf")
	fmt.Fprintf(w, "%%PDF-1.4\n%% %s\n", r.PathValue("file"))
}

func unknown(w http.ResponseWriter) {
	answer(w, http.StatusNotFound, map[string]any{"error": "no such job"})
}

func answer(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of text and numbers
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n'))
}

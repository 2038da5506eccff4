package simulation_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
)

// A mood is how a backend is for a while.
type mood int

const (
	calm  mood = iota // one request in twenty goes wrong
	rough             // every second one
	away              // nobody can reach it
	busy              // it answers 503 and 429
)

var errReset = errors.New("connection reset by the backend")

// A backend makes jobs and tells how they are. Whatever it does depends on the seed, on
// what it is asked, for the how-manieth time, and when: not on who asks first.
type backend struct {
	plan   *plan
	ledger *audit.Ledger
	begun  time.Time

	mu    sync.Mutex
	jobs  map[string]*job
	byKey map[string]*job
	asked map[string]int
}

type job struct {
	id, client string
	made       time.Time
	plan       clientPlan
	canceled   bool
	forgotten  time.Time     // not known from then on; zero for never
	late       int           // polls that are answered with 404 before it is known
	said       intent.Status // the first end that was told
	lost       bool          // 404 was told, if only at first
}

func newBackend(p *plan, l *audit.Ledger) *backend {
	return &backend{plan: p, ledger: l, begun: time.Now(), jobs: make(map[string]*job), byKey: make(map[string]*job), asked: make(map[string]int)}
}

// chance is what a request is decided by.
func (b *backend) chance(about string) *rand.Rand {
	b.mu.Lock()
	b.asked[about]++
	n := b.asked[about]
	b.mu.Unlock()
	return source(b.plan.seed, about+"#"+strconv.Itoa(n))
}

// A fault is what goes wrong with one request.
type fault int

const (
	none fault = iota
	refused
	unavailable
	tooMany
	failing
	failingAfter // it has done what it was asked to
	hangs
	hangsAfter
	lostAnswer
	brokenOff
	garbage
	oddWord
	tardy
	rejected
)

var roughFaults = []fault{unavailable, tooMany, failing, failingAfter, hangs, hangsAfter, lostAnswer, brokenOff, garbage, oddWord, tardy, tardy, refused, rejected}

func (b *backend) fault(r *rand.Rand) fault {
	odds := 20
	switch during(b.plan.backend, time.Since(b.begun)) {
	case away:
		return refused
	case busy:
		return []fault{unavailable, tooMany}[r.IntN(2)]
	case rough:
		odds = 2
	}
	if r.IntN(odds) > 0 {
		return none
	}
	return roughFaults[r.IntN(len(roughFaults))]
}

// Send is the method of [engine.Transport].
func (b *backend) Send(w http.ResponseWriter, r *http.Request) error {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return err // the client broke off: nothing was asked
		}
	}
	a := audit.Asked{}
	about := ""
	switch name, ok := strings.CutPrefix(r.URL.Path, "/reports/status/"); {
	case ok && r.Method == http.MethodDelete:
		a.Kind, a.Job, about = audit.Cancels, name, "cancel "+name
	case ok:
		a.Kind, a.Job, about = audit.Polls, name, "poll "+name
	case r.URL.Path == "/reports/by-key":
		a.Kind, a.Key = audit.Lookups, r.URL.Query().Get("key")
		about = "lookup " + shard.ReplaceAllString(a.Key, "$1..$2")
	default:
		a.Kind, a.Key = audit.Submits, r.Header.Get("Idempotency-Key")
		a.Client = strings.TrimSuffix(strings.TrimPrefix(string(body), `{"client":"`), `"}`)
		about = "submit " + a.Client
	}
	return b.serve(w, r, &a, b.chance(about))
}

// serve answers one request, or does not, and writes into the ledger what it was.
func (b *backend) serve(w http.ResponseWriter, r *http.Request, a *audit.Asked, chance *rand.Rand) error {
	f, came := b.fault(chance), time.Now()
	if f == refused {
		return engine.ErrNotSent
	}
	defer func() {
		a.Answered = time.Now()
		b.ledger.Write(audit.Entry{At: came, Asked: a})
	}()
	switch f {
	case tardy:
		if !sleep(r, between(chance, 0, 20*time.Second)) {
			return r.Context().Err()
		}
	case unavailable, tooMany:
		return b.later(w, a, f, chance)
	case failing:
		return reply(w, a, http.StatusInternalServerError, `{"error":"no database"}`)
	case rejected:
		if a.Kind == audit.Submits {
			return reply(w, a, http.StatusUnprocessableEntity, `{"error":"no such report"}`)
		}
	case hangs:
		<-r.Context().Done()
		return r.Context().Err()
	case garbage:
		return reply(w, a, http.StatusOK, "<!doctype html><p>Maintenance</p>")
	}
	if b.plan.late > 0 && !sleep(r, between(chance, 0, b.plan.late)) {
		return r.Context().Err()
	}
	code, body := b.do(a, f, chance)
	switch f {
	case failingAfter:
		return reply(w, a, http.StatusInternalServerError, `{"error":"no database"}`)
	case hangsAfter:
		<-r.Context().Done()
		return r.Context().Err()
	case lostAnswer:
		return errReset
	case brokenOff:
		_ = reply(w, a, code, body[:len(body)/2])
		a.Code = 0
		return errReset
	}
	return reply(w, a, code, body)
}

func sleep(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (b *backend) later(w http.ResponseWriter, a *audit.Asked, f fault, chance *rand.Rand) error {
	if chance.IntN(2) == 0 {
		a.After = time.Duration(chance.IntN(40)) * time.Second
		w.Header().Set("Retry-After", strconv.Itoa(int(a.After/time.Second)))
	}
	if f == tooMany {
		return reply(w, a, http.StatusTooManyRequests, `{"error":"slow down"}`)
	}
	return reply(w, a, http.StatusServiceUnavailable, `{"error":"busy"}`)
}

func reply(w http.ResponseWriter, a *audit.Asked, code int, body string) error {
	a.Code = code
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, err := io.WriteString(w, body)
	return err
}

// do does what it is asked to.
func (b *backend) do(a *audit.Asked, f fault, chance *rand.Rand) (code int, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch a.Kind {
	case audit.Submits:
		return b.submit(a, chance)
	case audit.Lookups:
		if j := b.byKey[a.Key]; j != nil {
			return http.StatusOK, `{"jobs":[{"job_id":"` + j.id + `"}]}`
		}
		return http.StatusOK, `{"jobs":[]}`
	}
	j := b.jobs[a.Job]
	switch {
	case j == nil, !j.forgotten.IsZero() && !time.Now().Before(j.forgotten):
		if j != nil {
			j.lost = true
		}
		return http.StatusNotFound, `{"error":"no such job"}`
	case a.Kind == audit.Cancels:
		return j.cancel()
	case j.late > 0:
		j.late--
		j.lost = true
		return http.StatusNotFound, `{"error":"no such job yet"}`
	}
	return http.StatusOK, j.status(f == oddWord)
}

// submit makes a job. The number of a job is that of its client: it does not matter
// who was first.
func (b *backend) submit(a *audit.Asked, chance *rand.Rand) (code int, body string) {
	n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(a.Client, "client-"), "-other"))
	b.asked["jobs of "+a.Client]++
	j := &job{id: fmt.Sprintf("job-%s-%d", a.Client, b.asked["jobs of "+a.Client]), client: a.Client, made: time.Now(), plan: b.plan.clients[n]}
	if chance.IntN(12) == 0 {
		j.forgotten = j.made.Add(between(chance, 0, time.Minute))
	}
	if chance.IntN(6) == 0 {
		j.late = chance.IntN(3)
	}
	b.jobs[j.id] = j
	if a.Key != "" {
		b.byKey[a.Key] = j
	}
	a.Job = j.id
	return http.StatusAccepted, `{"job_id":"` + j.id + `","status":"pending"}`
}

func (j *job) cancel() (code int, body string) {
	if j.state() != "running" {
		return http.StatusConflict, `{"error":"the job is over"}`
	}
	j.canceled = true
	return http.StatusOK, `{"job_id":"` + j.id + `","status":"cancelled"}`
}

func (j *job) state() string {
	switch {
	case j.canceled:
		return "cancelled"
	case time.Since(j.made) >= j.plan.takes:
		return j.plan.end
	}
	return "running"
}

var ends = map[string]intent.Status{"done": intent.Completed, "failed": intent.Failed, "cancelled": intent.Canceled}

func (j *job) status(odd bool) string {
	state := j.state()
	if end, over := ends[state]; over {
		if j.said == "" {
			j.said = end
		}
		return `{"job_id":"` + j.id + `","status":"` + state + `"}`
	}
	if odd {
		state = "mulling it over"
	}
	percent := int(100 * time.Since(j.made) / max(j.plan.takes, 1))
	return fmt.Sprintf(`{"job_id":%q,"status":%q,"percent":%d}`, j.id, state, percent)
}

// testify writes into the ledger what the backend knows in the end.
func (b *backend) testify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.jobs {
		b.ledger.Write(audit.Entry{Job: &audit.Job{ID: j.id, Client: j.client, Said: j.said, Lost: j.lost}})
	}
}

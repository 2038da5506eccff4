//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// TestKillAtARandomMomentLosesNothingAcknowledged kills a real Caddy under load,
// again and again, and has an auditor hold what clients were told against what the
// store and the backend know.
func TestKillAtARandomMomentLosesNothingAcknowledged(t *testing.T) {
	begun := time.Now()
	seed := soak.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	n := soak.Number(t, "INTENTS_ROUNDS", 5)

	p := newProcess(t)
	p.backend.EveryJobSays(legacytest.Status{State: "pending"}, legacytest.Status{State: "running", Percent: 20},
		legacytest.Status{State: "running", Percent: 80}, legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	p.configure(strings.Replace(report, "intents TO {", "intents TO {\nlimits {\nrate 2000\n}", 1))
	p.Start()
	a := newAuditor(t, p)
	for range n {
		load := a.submitFor(8)
		// Anywhere in a second: within a submit, a commit, a poll, or between them.
		<-time.After(time.Duration(50+random.IntN(950)) * time.Millisecond)
		p.Kill()
		load()
		p.Start()
	}
	a.finish()
	a.audit()
	t.Logf("%d submits acknowledged, %d answered otherwise, %d jobs, %d events, in %s",
		len(a.acked), a.failed, len(p.backend.Jobs()), a.events, time.Since(begun).Round(time.Millisecond))
}

// An auditor keeps a ledger of its own: what clients were promised, and what each
// observer saw.
type auditor struct {
	t         *testing.T
	p         *process
	observers sync.WaitGroup

	mu     sync.Mutex
	posts  int
	acked  map[string]string         // intent id by client
	failed int                       // submits that were answered with anything but an intent
	seen   map[string][]intent.Event // by intent id, as observed over all restarts
	events int
	faults []string
}

func newAuditor(t *testing.T, p *process) *auditor {
	return &auditor{t: t, p: p, acked: make(map[string]string), seen: make(map[string][]intent.Event)}
}

func (a *auditor) fault(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, fmt.Sprintf(format, args...))
}

// submitFor lets so many clients submit until the server is gone; stop waits for
// them.
func (a *auditor) submitFor(clients int) (stop func()) {
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for a.submitOnce() {
			}
		})
	}
	return running.Wait
}

// submitOnce submits one job as a client of its own, and returns false if there is
// nobody to submit to.
func (a *auditor) submitOnce() bool {
	a.mu.Lock()
	a.posts++
	client := fmt.Sprintf("client-%d", a.posts)
	a.mu.Unlock()
	r, err := http.NewRequest("POST", "http://"+a.p.addr+"/reports/generate", strings.NewReader(`{}`))
	if err != nil {
		panic(err)
	}
	r.Header.Set(legacytest.ClientHeader, client)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	id := resp.Header.Get("Intent-Id")
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || id == "" {
		a.failed++
		return err == nil
	}
	if resp.StatusCode != http.StatusAccepted || !strings.Contains(string(body), id) {
		a.faults = append(a.faults, fmt.Sprintf("%s got %d %s", client, resp.StatusCode, body))
	}
	a.acked[client] = id
	a.observers.Go(func() { a.observe(id) })
	return true
}

// observe follows an intent over all restarts, as an EventSource does.
func (a *auditor) observe(id string) {
	var last int64
	for {
		done, err := a.observeOnce(id, &last)
		if done {
			return
		}
		if err != nil {
			a.fault("observing %s after %d: %v", id, last, err)
			return
		}
		<-time.After(20 * time.Millisecond) // as a client waits before it comes back
	}
}

func (a *auditor) observeOnce(id string, last *int64) (done bool, err error) {
	r, err := http.NewRequest("GET", "http://"+a.p.addr+"/v1/intents/"+id+"/events/stream", nil)
	if err != nil {
		return false, err
	}
	if *last > 0 {
		r.Header.Set("Last-Event-ID", strconv.FormatInt(*last, 10))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, nil // down: it will come back
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return true, nil
	case http.StatusServiceUnavailable:
		return false, nil
	case http.StatusOK:
	default:
		return false, fmt.Errorf("answer %d", resp.StatusCode)
	}
	for reader := sse.NewReader(resp.Body); ; {
		frame, err := reader.Next()
		if err != nil {
			return false, nil // cut: resume
		}
		var e intent.Event
		if err := json.Unmarshal([]byte(frame.Data), &e); err != nil {
			return false, err
		}
		if e.Seq != *last+1 {
			return false, fmt.Errorf("event %d follows event %d", e.Seq, *last)
		}
		*last = e.Seq
		a.mu.Lock()
		a.seen[id] = append(a.seen[id], e)
		a.events++
		a.mu.Unlock()
		if e.Status.Terminal() {
			return true, nil
		}
	}
}

// finish waits until every intent has ended, and kills the process: those that are
// observed, and those of which nobody was told, which the store names.
func (a *auditor) finish() {
	a.t.Helper()
	a.observers.Wait()
	a.p.Kill()
	untold := a.unended()
	a.p.Start()
	for _, id := range untold {
		a.observers.Go(func() { a.observe(id) })
	}
	a.observers.Wait()
	a.p.Kill()
}

// unended reads from the store of the dead process which intents still run.
func (a *auditor) unended() (ids []string) {
	a.t.Helper()
	st := a.open()
	defer st.Close()
	for _, in := range a.list(st) {
		if !in.Status.Terminal() {
			ids = append(ids, in.ID.String())
		}
	}
	return ids
}

func (a *auditor) open() store.Store {
	a.t.Helper()
	st, err := boltstore.Open(a.p.store, boltstore.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(a.t, err)
	return st
}

// list returns all intents of a store.
func (a *auditor) list(st store.Store) (all []intent.Intent) {
	a.t.Helper()
	for f := (store.Filter{Limit: 1000}); ; {
		page, err := st.List(a.t.Context(), f)
		require.NoError(a.t, err)
		all = append(all, page.Intents...)
		if f.Before = page.Next; f.Before == (intent.ID{}) {
			return all
		}
	}
}

// audit reads the store of the dead process and holds the ledger against it.
func (a *auditor) audit() {
	a.t.Helper()
	st := a.open()
	defer st.Close()
	for client, id := range a.acked {
		a.auditIntent(st, client, id)
	}
	a.auditJobs(st)
	require.Empty(a.t, a.faults)
	require.NotEmpty(a.t, a.acked, "nothing was submitted: this run shows nothing")
}

// auditIntent checks one acknowledged intent: it is there, ended once, as the
// backend says, and its observer saw exactly what is stored.
func (a *auditor) auditIntent(st store.Store, client, text string) {
	id, err := intent.ParseID(text)
	require.NoError(a.t, err)
	in, events, err := st.Events(a.t.Context(), id, 0)
	if err != nil {
		a.fault("%s of %s: %v", id, client, err)
		return
	}
	if in.Status != intent.Completed {
		a.fault("%s of %s ended as %s", id, client, in.Status)
	}
	status := intent.Status("")
	for i, e := range events {
		if e.Seq != int64(i+1) {
			a.fault("%s has event %d at %d", id, e.Seq, i+1)
		}
		if !status.Precedes(e.Status) {
			a.fault("%s went from %s to %s", id, status, e.Status)
		}
		status = e.Status
	}
	if job, ok := a.p.backend.Job(in.JobID); !ok || job.Client != client {
		a.fault("%s of %s is about job %s of %s", id, client, in.JobID, job.Client)
	}
	if stored, seen := asJSON(events), asJSON(a.seen[text]); stored != seen {
		a.fault("%s: stored %s, observed %s", id, stored, seen)
	}
}

// auditJobs checks that each client's job was made once at most, and that a job
// whose client got no acknowledgement is known to be one of two things: an intent
// that nobody was told of, or a job that the process never heard of.
func (a *auditor) auditJobs(st store.Store) {
	intents := make(map[string]intent.Intent)
	for _, in := range a.list(st) {
		if other, ok := intents[in.JobID]; ok {
			a.fault("job %s has intents %s and %s", in.JobID, in.ID, other.ID)
		}
		intents[in.JobID] = in
	}
	untold, unheard := 0, 0
	for _, job := range a.p.backend.Jobs() {
		if n := a.p.backend.Posts(job.Client); n != 1 {
			a.fault("%s was sent %d times", job.Client, n)
		}
		if _, acked := a.acked[job.Client]; acked {
			continue
		}
		if in, ok := intents[job.ID]; ok && in.Status.Terminal() {
			untold++
		} else if ok {
			a.fault("%s, of which nobody was told, is %s", in.ID, in.Status)
		} else {
			unheard++
		}
	}
	a.t.Logf("jobs without an acknowledgement: %d became intents all the same, %d were cut off before their answer was stored", untold, unheard)
}

func asJSON(events []intent.Event) string {
	for i := range events {
		events[i].At = events[i].At.UTC()
	}
	text, err := json.Marshal(events)
	if err != nil {
		panic(err)
	}
	return string(text)
}

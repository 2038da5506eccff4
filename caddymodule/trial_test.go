//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// A trial is a real Caddy under a load of every kind of submit, and a ledger of what
// everybody saw of it over all its lives.
type trial struct {
	t       *testing.T
	p       *process
	path    string // of the ledger
	ledger  *audit.Ledger
	witness *witness
	seed    uint64

	observers sync.WaitGroup

	mu       sync.Mutex
	clients  int
	told     map[audit.Word]int
	followed map[string]bool
	jobsGo   bool // and come back: submits of one that is in no config pass through
}

// everyKind is a site with a job of each kind, of all that are listed in kinds.
const everyKind = `intents TO {
	limits {
		rate 2000
		in_flight 256
	}
	JOBS
}`

// kinds are the jobs, and what is special about each.
var kinds = map[string]string{
	"plain":    "",
	"intent":   "respond intent",
	"fail":     "queue 1m",
	"resubmit": "queue 1m {\non_uncertain resubmit\n}",
	"lookup":   "queue 1m {\non_uncertain lookup GET /reports/by-key?key={idempotency_key} {\njob_id body.jobs[0].job_id\n}\n}",
}

var kindNames = []string{"plain", "intent", "fail", "resubmit", "lookup"}

// everyJob are the job blocks; each can be left out, renamed, or have another interval.
func everyJob(change func(kind string) (name, interval string)) string {
	var all strings.Builder
	for _, kind := range kindNames {
		name, interval := change(kind)
		all.WriteString(jobBlock(name, kind, kind, interval))
	}
	return all.String()
}

// jobBlock is a job of a kind, submitted under a path; nothing without a name.
func jobBlock(name, kind, path, interval string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("job %s {\nsubmit POST /%s/generate\nstatus GET /reports/status/{job_id}\ncancel DELETE /reports/status/{job_id}\n%s\npoll %s {\nfirst 50ms\n}\n}\n",
		name, path, kinds[kind], interval)
}

func asUsual(kind string) (name, interval string) { return kind, "100ms" }

func newTrial(t *testing.T, seed uint64) *trial {
	tr := &trial{t: t, p: newProcess(t), seed: seed, told: make(map[audit.Word]int), followed: make(map[string]bool)}
	tr.path = filepath.Join(t.TempDir(), "ledger.jsonl")
	file, err := os.OpenFile(tr.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	tr.ledger = audit.NewLedger(file)
	tr.witness = newWitness(tr.p.backend, tr.ledger)
	server := httptest.NewServer(tr.witness)
	t.Cleanup(server.Close)
	tr.p.to = server.Listener.Addr().String()
	tr.p.backend.EveryJobSays(legacytest.Status{State: "pending"}, legacytest.Status{State: "running", Percent: 20},
		legacytest.Status{State: "running", Percent: 80}, legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	tr.configure(asUsual)
	return tr
}

func (tr *trial) configure(change func(kind string) (name, interval string), more ...string) {
	tr.p.configure(strings.Replace(everyKind, "JOBS", everyJob(change)+strings.Join(more, ""), 1))
}

// start begins a life of the process, in which it may be killed at a failpoint.
func (tr *trial) start(env ...string) {
	tr.t.Helper()
	tr.p.Env = env
	tr.p.Start()
	tr.ledger.Write(audit.Entry{Life: "begins"})
}

// kill ends it.
func (tr *trial) kill() {
	tr.p.Kill()
	tr.ledger.Write(audit.Entry{Life: "ends"})
}

// stop asks it to end, and waits until it has.
func (tr *trial) stop() {
	tr.p.Terminate()
	<-tr.p.Exited
	tr.ledger.Write(audit.Entry{Life: "ends"})
}

// load lets clients submit at a rate until the process is gone, or stop is called,
// which waits for them.
func (tr *trial) load(perSecond int) (stop func()) {
	const clients = 8
	done, gone := make(chan struct{}), tr.p.Exited
	var running sync.WaitGroup
	for i := range clients {
		tr.mu.Lock()
		random := rand.New(rand.NewPCG(tr.seed, uint64(tr.clients+i)))
		tr.mu.Unlock()
		running.Go(func() {
			pace := time.NewTicker(clients * time.Second / time.Duration(perSecond))
			defer pace.Stop()
			for {
				tr.submit(random)
				select {
				case <-pace.C:
				case <-done:
					return
				case <-gone:
					return
				}
			}
		})
	}
	return func() {
		close(done)
		running.Wait()
	}
}

// submit is one client with one job.
func (tr *trial) submit(random *rand.Rand) {
	tr.mu.Lock()
	tr.clients++
	client := fmt.Sprintf("client-%d", tr.clients)
	tr.mu.Unlock()
	kind := kindNames[random.IntN(len(kindNames))]
	wish := audit.Wish{Client: client, Queued: strings.HasPrefix(kinds[kind], "queue"), Again: kind == "resubmit" || kind == "lookup"}
	header := http.Header{legacytest.ClientHeader: {client}}
	if random.IntN(3) == 0 {
		wish.Key = "key of " + client
		header.Set("Idempotency-Key", wish.Key)
	}
	if random.IntN(10) == 0 {
		header.Set("Cancel-After", "1s")
	}
	tr.ledger.Write(audit.Entry{Wish: &wish})
	for range 1 + random.IntN(2) {
		id := tr.submitOnce(client, kind, header)
		if id != "" && random.IntN(10) == 0 {
			tr.cancel(client, id)
		}
		if wish.Key == "" {
			return // a repeat would be another submit
		}
	}
}

// submitOnce posts, and follows the intent that it is told.
func (tr *trial) submitOnce(client, kind string, header http.Header) (id string) {
	r, err := http.NewRequest("POST", "http://"+tr.p.addr+"/"+kind+"/generate", strings.NewReader(`{}`))
	if err != nil {
		panic(err)
	}
	r.Header = header.Clone()
	resp, err := http.DefaultClient.Do(r)
	told := audit.Told{Client: client, Word: audit.Unknown}
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			told = understand(client, resp, body)
			// Just now its job may have been in no config: nobody kept its key.
			told.Unkept = told.Unkept || tr.jobsGo && told.Word == audit.Passed
		}
	}
	tr.tell(told)
	if told.Word == audit.Accepted {
		tr.follow(told.Intent)
	}
	return told.Intent
}

func understand(client string, resp *http.Response, body []byte) audit.Told {
	told := audit.Told{Client: client, Word: audit.Passed, Code: resp.StatusCode, Unkept: resp.Header.Get("Intent-Status") != ""}
	switch id := resp.Header.Get("Intent-Id"); {
	case resp.StatusCode == http.StatusAccepted && id != "" && strings.Contains(string(body), id):
		told.Word, told.Intent = audit.Accepted, id
	case resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), intent.CodeSubmitUncertain):
		told.Word = audit.Unknown
	case resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), `"ok":false`):
		told.Word = audit.Refused
	case resp.StatusCode == http.StatusConflict:
		told.Word = audit.Unknown
	}
	return told
}

func (tr *trial) tell(told audit.Told) {
	tr.ledger.Write(audit.Entry{Told: &told})
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.told[told.Word]++
}

// cancel cancels an intent as its client.
func (tr *trial) cancel(client, id string) {
	r, err := http.NewRequest("DELETE", "http://"+tr.p.addr+"/v1/intents/"+id, nil)
	if err != nil {
		panic(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	var answer struct {
		Intent struct {
			Status intent.Status `json:"lifecycle_status"`
		} `json:"intent"`
	}
	if json.NewDecoder(resp.Body).Decode(&answer) == nil && resp.StatusCode == http.StatusOK && answer.Intent.Status == intent.Canceled {
		tr.tell(audit.Told{Client: client, Word: audit.Canceled, Intent: id})
	}
}

// follow observes an intent over all lives, as an EventSource does.
func (tr *trial) follow(id string) {
	tr.mu.Lock()
	known := tr.followed[id]
	tr.followed[id] = true
	tr.mu.Unlock()
	if known {
		return
	}
	tr.observers.Go(func() {
		var last int64
		for !tr.observe(id, &last) {
			<-time.After(20 * time.Millisecond) // as a client waits before it comes back
		}
	})
}

// observe observes on one connection, and reports whether there is nothing more.
func (tr *trial) observe(id string, last *int64) (done bool) {
	see := func(e *intent.Event, damage string) {
		tr.ledger.Write(audit.Entry{Seen: &audit.Seen{Observer: "of " + id, Intent: id, Event: e, Damage: damage}})
	}
	r, err := http.NewRequest("GET", "http://"+tr.p.addr+"/v1/intents/"+id+"/events/stream", nil)
	if err != nil {
		panic(err)
	}
	if *last > 0 {
		r.Header.Set("Last-Event-ID", strconv.FormatInt(*last, 10))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false // down: it will come back
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		see(nil, "")
		return true
	case http.StatusServiceUnavailable:
		return false
	case http.StatusOK:
	default:
		see(nil, resp.Status)
		return true
	}
	for reader := sse.NewReader(resp.Body); ; {
		frame, err := reader.Next()
		if err != nil {
			return false // cut: resume
		}
		var e intent.Event
		if err := json.Unmarshal([]byte(frame.Data), &e); err != nil || frame.Event == "intent.reset" {
			see(nil, frame.Event+" "+frame.Data)
			return true
		}
		see(&e, "")
		*last = e.Seq
		if e.Status.Terminal() {
			return true
		}
	}
}

// finish waits until every intent has ended, of which somebody was told and of which
// nobody was, kills the process and has everything audited.
func (tr *trial) finish() {
	tr.t.Helper()
	tr.observers.Wait()
	tr.kill()
	stored, err := takeStock(tr.p.store)
	require.NoError(tr.t, err)
	tr.start()
	for _, e := range stored {
		tr.follow(e.Stored.Intent.ID.String())
	}
	tr.observers.Wait()
	tr.kill()
	tr.audit()
	left, err := takeStock(tr.p.store)
	require.NoError(tr.t, err)
	require.False(tr.t, slices.ContainsFunc(left, func(e audit.Entry) bool { return !e.Stored.Intent.Status.Terminal() }), "an intent has not ended")
	require.Positive(tr.t, tr.told[audit.Accepted], "nothing was accepted: this shows nothing")
}

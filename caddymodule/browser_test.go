//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/browsertest"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
)

// follow submits jobs and follows each in one of three ways: with a bare EventSource
// that nobody closes, with observe.js over an EventSource, and over fetch.
const follow = `
const { observe } = await import("/v1/intents/observe.js")
window.until = async what => {
	for (const begun = Date.now(); !what(); await new Promise(done => setTimeout(done, 20))) {
		if (Date.now() - begun > 15000) throw new Error(JSON.stringify(jobs))
	}
}
window.submit = async () => (await fetch("/reports/generate", { method: "POST", body: "{}" })).json()
window.jobs = []
for (let i = 0; i < args[0]; i++) {
	const { intent_id, job_id, observe_url } = await submit()
	const job = { intent_id, job_id, observe_url, seen: [] }
	const onEvent = ({ seq, status }) => job.seen.push(seq + " " + status)
	jobs.push(job)
	if (i % 3 == 0) {
		job.source = new EventSource(observe_url)
		for (const name of ["created", "submitted", "delivered", "in_progress", "completed", "reset"]) {
			job.source.addEventListener("intent." + name, event => onEvent(JSON.parse(event.data)))
		}
	} else {
		job.last = observe(observe_url, { onEvent, headers: i % 3 == 1 ? undefined : { "X-Page": "yes" } })
	}
}
await until(() => jobs.every(job => job.seen.length >= 4))
await submit() // there is a connection left for it
return jobs.map(({ intent_id, job_id }) => ({ intent_id, job_id }))
`

// finish waits for the end of all, and then for longer than an EventSource would be
// asked to wait after a cut.
const finish = `
await until(() => jobs.every(job => job.seen.at(-1).endsWith("COMPLETED")))
for (const job of jobs) if (job.last && (await job.last).status !== "COMPLETED") throw new Error("observe returned something else")
await new Promise(done => setTimeout(done, 3000))
return jobs.map(job => job.seen)
`

// askAgain asks with a new EventSource for what comes after the end.
const askAgain = `
const source = new EventSource(jobs[0].observe_url + "?since=" + jobs[0].seen.length)
await new Promise(done => source.onerror = done)
return source.readyState === EventSource.CLOSED
`

// abandon aborts both ways of observe.js at the first event.
const abandon = `
const { observe } = await import("/v1/intents/observe.js")
const { observe_url } = await submit()
const names = []
for (const headers of [undefined, { "X-Page": "yes" }]) {
	const controller = new AbortController()
	await observe(observe_url, { headers, signal: controller.signal, onEvent: () => controller.abort() })
		.catch(problem => names.push(problem.name))
}
return names
`

func TestABrowserSeesEveryEventThroughAKillAndStopsAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		scheme, proto string
		jobs          int // on HTTP/1.1 a browser opens six connections at most
	}{{"http", "HTTP/1.1", 3}, {"https", "HTTP/2.0", 6}} {
		t.Run(c.proto, func(t *testing.T) {
			p := newProcess(t)
			_, port, err := net.SplitHostPort(caddytest.FreeAddr(t))
			require.NoError(t, err)
			log := filepath.Join(t.TempDir(), "access.log")
			p.Configure(strings.NewReplacer("ADMIN", p.Admin, "SITE", c.scheme+"://localhost:"+port, "LOG", log, "STORE", p.store,
				"TLS", map[string]string{"http": "", "https": "tls internal"}[c.scheme], "REPORT", strings.ReplaceAll(report, "TO", p.to)).Replace(`{
	admin ADMIN
	persist_config off
	skip_install_trust
	intents {
		store bolt STORE
	}
}
SITE {
	TLS
	log {
		output file LOG
	}
	REPORT
}
`))
			p.Start()
			b := browsertest.Open(t)
			b.Visit(c.scheme + "://localhost:" + port + "/v1/intents/observe.js")
			var jobs []struct {
				IntentID string `json:"intent_id"`
				JobID    string `json:"job_id"`
			}
			b.Run(follow, &jobs, c.jobs)
			require.Len(t, jobs, c.jobs)

			p.Kill()
			for _, job := range jobs {
				p.backend.Says(job.JobID, "done", 100)
			}
			p.Start()
			var seen [][]string
			b.Run(finish, &seen)
			for _, events := range seen {
				var statuses []string
				for i, event := range events {
					seq, status, _ := strings.Cut(event, " ")
					require.Equal(t, strconv.Itoa(i+1), seq, "%v", events)
					statuses = append(statuses, status)
				}
				require.Equal(t, []string{"CREATED", "SUBMITTED", "DELIVERED", "IN_PROGRESS", "COMPLETED"}, slices.Compact(statuses))
			}
			asked := streamsIn(t, log, c.proto)
			for _, job := range jobs {
				// Those that the kill cut are in no log.
				require.Equal(t, 1, asked[job.IntentID], "a stream was resumed once, and not asked for after the end")
			}

			var closed bool
			b.Run(askAgain, &closed)
			require.True(t, closed, "an EventSource gives up when there is nothing after the end")
			var names []string
			b.Run(abandon, &names)
			require.Equal(t, []string{"AbortError", "AbortError"}, names)
		})
	}
}

// streamsIn counts requests for streams in an access log by intent, and checks that
// they came by the protocol.
func streamsIn(t *testing.T, file, proto string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	asked := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Request struct{ URI, Proto string }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		path, _, _ := strings.Cut(entry.Request.URI, "?")
		if id, ok := strings.CutSuffix(strings.TrimPrefix(path, "/v1/intents/"), "/events/stream"); ok {
			require.Equal(t, proto, entry.Request.Proto, path)
			asked[id]++
		}
	}
	return asked
}

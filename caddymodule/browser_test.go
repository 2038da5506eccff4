//go:build e2e

package caddymodule_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// localhost is the usual job as a site for a page.
const localhost = "SCHEME://localhost:PORT {\n\timport logged\n" + report + "\n}\n"

// onEachProtocol runs a test with a page for each protocol, with as many streams as it
// can have and still let the page do something else: on HTTP/1.1 a browser opens six
// connections at most.
func onEachProtocol(t *testing.T, test func(t *testing.T, p *page, streams int)) {
	for _, c := range []struct {
		proto   string
		streams int
	}{{"HTTP/1.1", 3}, {"HTTP/2.0", 6}} {
		t.Run(c.proto, func(t *testing.T) {
			p := newPage(t, c.proto, localhost)
			p.open("localhost")
			test(t, p, c.streams)
			if c.proto == "HTTP/2.0" {
				require.Equal(t, 1, connections(p.asked("/")[p.resumed:]), "all on one connection")
			}
		})
	}
}

// follow submits jobs and follows each in one of three ways: with a bare EventSource
// that nobody closes, with observe.js over an EventSource, and over fetch.
const follow = `
const { observe } = await import("/v1/intents/observe.js")
for (let i = 0; i < args[0]; i++) {
	const { intent_id, job_id, observe_url } = await submit()
	const job = { intent_id, job_id, observe_url, seen: [] }
	const onEvent = ({ seq, status }) => job.seen.push(seq + " " + status)
	jobs.push(job)
	if (i % 3 == 0) {
		job.source = new EventSource(observe_url)
		for (const name of names) job.source.addEventListener(name, event => onEvent(JSON.parse(event.data)))
	} else {
		job.last = observe(observe_url, { onEvent, headers: i % 3 == 1 ? undefined : { "X-Page": "yes" } })
	}
}
await until(() => jobs.every(job => job.seen.length >= 4))
await submit() // there is a connection left for it
return jobs.map(({ intent_id, job_id }) => ({ intent_id, job_id }))
`

// finish waits for the end of all, and then for what may come after it.
const finish = `
await until(() => jobs.every(job => job.seen.at(-1).endsWith("COMPLETED")))
for (const job of jobs) if (job.last && (await job.last).status !== "COMPLETED") throw new Error("observe returned something else")
await aWhile()
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
	onEachProtocol(t, func(t *testing.T, p *page, streams int) {
		var jobs []followedJob
		p.Run(follow, &jobs, streams)
		require.Len(t, jobs, streams)
		p.killWhile(func() {
			for _, job := range jobs {
				p.backend.Says(job.JobID, "done", 100)
			}
		})
		var seen [][]string
		p.Run(finish, &seen)
		for _, events := range seen {
			requireWholeLife(t, events)
		}
		for _, job := range jobs {
			require.Len(t, p.asked("/v1/intents/"+job.IntentID+"/events/stream"), 1, "a stream was resumed once, and not asked for after the end")
		}

		var closed bool
		p.Run(askAgain, &closed)
		require.True(t, closed, "an EventSource gives up when there is nothing after the end")
		var names []string
		p.Run(abandon, &names)
		require.Equal(t, []string{"AbortError", "AbortError"}, names)
	})
}

func TestABrowserComesBackToACaddyThatWasAwayForAWhile(t *testing.T) {
	onEachProtocol(t, func(t *testing.T, p *page, streams int) {
		var jobs []followedJob
		p.Run(follow, &jobs, streams)
		p.Terminate() // on HTTP/2 the streams are reset, before the connection goes
		<-p.Exited
		p.Run("await aWhile()", nil) // there is nobody to come back to
		for _, job := range jobs {
			p.backend.Finishes(job.JobID)
		}
		p.resumed = len(p.asked("/"))
		p.Start()
		var seen [][]string
		p.Run(finish, &seen)
		for _, events := range seen {
			requireWholeLife(t, events)
		}
		for _, job := range jobs {
			require.Len(t, p.asked("/v1/intents/"+job.IntentID+"/events/stream"), 2, "one that was cut, and one that resumed it")
		}
	})
}

type followedJob struct {
	IntentID string `json:"intent_id"`
	JobID    string `json:"job_id"`
}

// requireWholeLife checks that events, as "seq STATUS", are all of a completed intent's.
func requireWholeLife(t *testing.T, events []string) {
	t.Helper()
	var statuses []string
	for i, event := range events {
		seq, status, _ := strings.Cut(event, " ")
		require.Equal(t, strconv.Itoa(i+1), seq, "%v", events)
		statuses = append(statuses, status)
	}
	require.Equal(t, []string{"CREATED", "SUBMITTED", "DELIVERED", "IN_PROGRESS", "COMPLETED"}, slices.Compact(statuses))
}

// followStatus follows each job by the backend's own URL, in the three ways of follow.
const followStatus = `
const { observe } = await import("/v1/intents/observe.js")
for (let i = 0; i < args[0]; i++) {
	const { job_id, intent_id } = await submit()
	const url = "/reports/status/" + job_id, job = { job_id, intent_id, frames: [] }
	const onEvent = frame => job.frames.push(frame)
	jobs.push(job)
	if (i % 3 == 0) {
		job.source = new EventSource(url)
		job.source.onmessage = event => onEvent(JSON.parse(event.data))
		for (const name of names) job.source.addEventListener(name, () => job.frames.push("a named frame"))
	} else {
		job.last = observe(url, { onEvent, headers: i % 3 == 1 ? undefined : { "X-Page": "yes" } })
	}
}
return jobs.map(({ intent_id, job_id }) => ({ intent_id, job_id }))
`

const untilPercent = `await until(() => jobs.every(job => job.frames.at(-1)?.percent === args[0]))`

const finishStatus = `
await until(() => jobs.every(job => job.frames.at(-1).status === "done"))
for (const job of jobs) if (job.last && (await job.last).url !== job.frames.at(-1).url) throw new Error("observe returned something else")
await aWhile()
return jobs.map(job => job.frames)
`

func TestABrowserFollowsTheJobsOwnURLThroughAKillAndStopsAtTheEnd(t *testing.T) {
	onEachProtocol(t, func(t *testing.T, p *page, streams int) {
		var jobs []followedJob
		p.Run(followStatus, &jobs, streams)
		for _, percent := range []int{20, 40} {
			for _, job := range jobs {
				p.backend.Says(job.JobID, "running", percent)
			}
			p.Run(untilPercent, nil, percent)
		}
		p.killWhile(func() {
			for _, job := range jobs {
				p.backend.SaysAll(job.JobID, legacytest.Status{State: "running", Percent: 60, Step: "line\n\nevent: x\u2028"})
			}
		})
		p.Run(untilPercent, nil, 60)
		for _, job := range jobs {
			p.backend.Finishes(job.JobID)
		}
		var frames [][]statusFrame
		p.Run(finishStatus, &frames)
		for i, job := range jobs {
			requireOwnWords(t, job, frames[i])
			require.Len(t, p.asked("/reports/status/"+job.JobID), 1, "a stream was resumed once, and not asked for after the end")
		}
		polls := len(p.backend.Asked())
		p.Run("await aWhile()", nil)
		require.Len(t, p.backend.Asked(), polls, "nor is the backend")
	})
}

// A statusFrame is what the backend says of a job, and we of its intent.
type statusFrame struct {
	JobID   string `json:"job_id"`
	Status  string
	Percent int
	Step    string
	URL     string
	Intent  struct {
		ID     string
		Seq    int
		Status string
	}
}

// requireOwnWords checks that the frames are the backend's words about the job, none of
// them twice in a row, up to the end.
func requireOwnWords(t *testing.T, job followedJob, frames []statusFrame) {
	t.Helper()
	seq := 0
	for i, f := range frames {
		require.Equal(t, job.JobID, f.JobID)
		require.Equal(t, job.IntentID, f.Intent.ID)
		require.GreaterOrEqual(t, f.Intent.Seq, seq, "%+v", frames)
		seq = f.Intent.Seq
		if f.Percent == 60 {
			require.Equal(t, "line\n\nevent: x\u2028", f.Step)
		}
		if i > 0 {
			require.NotEqual(t, frames[i-1], f)
		}
	}
	last := frames[len(frames)-1]
	require.Equal(t, "COMPLETED", last.Intent.Status)
	require.Equal(t, "/reports/files/"+job.JobID+".pdf", last.URL)
}

// followTogether follows all jobs on one stream, in the three ways of follow.
const followTogether = `
const { observe } = await import("/v1/intents/observe.js")
for (let i = 0; i < args[0]; i++) jobs.push(await submit())
const url = "/v1/intents/events/stream?" + jobs.map(job => "id=" + job.intent_id).join("&")
window.ways = [{ seen: {} }, { seen: {} }, { seen: {} }]
ways.forEach((way, i) => {
	const onEvent = ({ intent_id, seq, status }) => (way.seen[intent_id] ??= []).push(seq + " " + status)
	if (i == 0) {
		way.source = new EventSource(url)
		for (const name of names) way.source.addEventListener(name, event => onEvent(JSON.parse(event.data)))
	} else {
		way.last = observe(url, { onEvent, headers: i == 1 ? undefined : { "X-Page": "yes" } })
	}
})
window.all = what => ways.every(way => jobs.every(job => what(way.seen[job.intent_id] ?? [])))
await until(() => all(seen => seen.length >= 4))
return jobs.map(({ intent_id, job_id }) => ({ intent_id, job_id }))
`

const firstEnds = `await until(() => ways.every(way => way.seen[jobs[0].intent_id].at(-1).endsWith("COMPLETED")))`

const finishTogether = `
await until(() => all(seen => seen.at(-1).endsWith("COMPLETED")))
for (const { last } of ways) if (last && (await last).status !== "COMPLETED") throw new Error("observe returned something else")
await aWhile()
return ways.map(way => way.seen)
`

func TestABrowserFollowsSixJobsOnOneStreamThroughAKillAndStopsWhenAllHaveEnded(t *testing.T) {
	onEachProtocol(t, func(t *testing.T, p *page, _ int) {
		var jobs []followedJob
		p.Run(followTogether, &jobs, 6)
		require.Len(t, jobs, 6)
		p.backend.Finishes(jobs[0].JobID) // the others' cursors move on without it
		p.Run(firstEnds, nil)
		p.killWhile(func() {
			for _, job := range jobs[1:5] {
				p.backend.Finishes(job.JobID)
			}
		})
		p.backend.Finishes(jobs[5].JobID)
		var ways []map[string][]string
		p.Run(finishTogether, &ways)
		require.Len(t, ways, 3)
		for _, seen := range ways {
			require.Len(t, seen, 6)
			for _, events := range seen {
				requireWholeLife(t, events)
			}
		}
		require.Len(t, p.asked("/v1/intents/events/stream"), len(ways), "each was resumed once, and not asked for after the end")
	})
}

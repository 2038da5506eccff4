//go:build e2e

package caddymodule_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// choose has observe.js follow with and without headers, and counts its EventSources
// and fetches.
const choose = `
const { observe } = await import("/v1/intents/observe.js")
const { observe_url } = await submit(), got = []
const { EventSource, fetch } = window
window.EventSource = class extends EventSource { constructor(...args) { got.push("EventSource"); super(...args) } }
window.fetch = (...args) => { got.push("fetch"); return fetch(...args) }
for (const headers of [undefined, { "X-Page": "yes" }]) {
	await observe(observe_url, { headers, onEvent: () => { throw new Error("the page's own") } }).catch(problem => got.push(problem.message))
}
for (const url of [observe_url.replace(/......\//, "000000/"), "/reports/files/1"]) {
	for (const headers of [undefined, { "X-Page": "yes" }]) await observe(url, { headers }).catch(problem => got.push(problem.message))
}
const controller = new AbortController()
controller.abort()
await observe(observe_url, { signal: controller.signal }).catch(problem => got.push(problem.name))
return got
`

func TestThePagesScriptTakesAnEventSourceWhereItCanAndRejectsWhatWillNotGetBetter(t *testing.T) {
	p := newPage(t, "HTTP/1.1", localhost)
	p.open("localhost")
	var got []string
	p.Run(choose, &got)
	require.Equal(t, []string{
		"EventSource", "the page's own", "fetch", "the page's own",
		"EventSource", "fetch", "observing was answered with 404", "fetch", "observing was answered with 404",
		"EventSource", "fetch", "observing was answered with 200", "fetch", "observing was answered with 200",
		"AbortError",
	}, got)
}

// followUntold follows another's job by its own URL, where the backend lets everybody.
const followUntold = `
const { observe } = await import("/v1/intents/observe.js")
document.cookie = "user=ada; Path=/"
const { job_id } = await submit()
document.cookie = "user=eve; Path=/"
for (const headers of [undefined, { "X-Page": "yes" }]) for (const since of [undefined, 1]) {
	const job = { seen: [] }
	jobs.push(job)
	job.last = observe("/reports/status/" + job_id, { headers, since, onEvent: frame => job.seen.push(frame) })
}
await until(() => jobs.every(job => job.seen.length))
return job_id
`

const finishUntold = `
const ends = await Promise.all(jobs.map(job => job.last))
if (jobs.some(job => job.seen.some(frame => frame.intent))) throw new Error("eve was told of the intent")
return ends.map(end => end.status)
`

func TestThePagesScriptEndsWithAJobWhoseIntentItMayNotBeToldOf(t *testing.T) {
	p := newPage(t, "HTTP/1.1", strings.Replace(localhost, "intents TO {", "intents TO {\nowner {http.request.cookie.user}", 1))
	p.open("localhost")
	var job string
	p.Run(followUntold, &job)
	p.backend.Finishes(job)
	var ends []string
	p.Run(finishUntold, &ends)
	require.Equal(t, []string{"done", "done", "done", "done"}, ends)
}

// hang has the first connection be one on which nothing comes any more, with a minute
// that takes half a second, and counts the listeners that are left of the signal.
const hang = `
const { observe } = await import("/v1/intents/observe.js")
const { observe_url } = await submit()
const { fetch, setTimeout } = window, controller = new AbortController()
let asked = 0, listeners = 0
window.setTimeout = (f, ms) => setTimeout(f, Math.min(ms, 500))
window.fetch = (url, init) => {
	if (asked++) return fetch(url, init)
	const body = new ReadableStream({ start(stream) { init.signal.addEventListener("abort", () => stream.error(init.signal.reason)) } })
	return Promise.resolve(new Response(body, { headers: { "Content-Type": "text/event-stream" } }))
}
const { addEventListener, removeEventListener } = controller.signal
controller.signal.addEventListener = (...args) => { listeners++; addEventListener.apply(controller.signal, args) }
controller.signal.removeEventListener = (...args) => { listeners--; removeEventListener.apply(controller.signal, args) }
const statuses = []
const following = observe(observe_url, { headers: {}, signal: controller.signal, onEvent: event => statuses.push(event.status) })
await until(() => statuses.includes("IN_PROGRESS"))
const during = listeners
controller.abort(new Error("enough"))
return [asked > 1, during, await following.catch(problem => problem.message), listeners]
`

func TestThePagesScriptLeavesAConnectionThatIsDeadAndNoListeners(t *testing.T) {
	p := newPage(t, "HTTP/1.1", localhost)
	p.open("localhost")
	var got []any
	p.Run(hang, &got)
	require.Equal(t, []any{true, 1.0, "enough", 0.0}, got)
}

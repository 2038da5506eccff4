//go:build e2e

package caddymodule_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// origins are an API that knows its users by a cookie, and pages of two other sites, of
// which it lets one use it. The backend's own CORS headers are as a proxy may set them.
var origins = `SCHEME://api.example.localhost:PORT {
	import logged
	@job path /reports/*
	header @job Access-Control-Allow-Origin SCHEME://app.example.localhost:PORT
	header @job Access-Control-Allow-Credentials true
	` + strings.Replace(report, "intents TO {", `intents TO {
	owner {http.request.cookie.user}
	cors SCHEME://app.example.localhost:PORT`, 1) + `
}
SCHEME://app.example.localhost:PORT, SCHEME://evil.example.localhost:PORT {
	TLS
	respond "a page"
}
`

// as logs a user in.
func (p *page) as(user string) {
	p.t.Helper()
	p.open("api.example.localhost")
	p.Run(`document.cookie = "user=" + args[0] + "; Secure; Path=/"`, nil, user)
}

// followElsewhere submits a job to another origin, and follows it in all ways that take
// a cookie along, and in one that needs none.
const followElsewhere = `
window.api = args[0]
const { observe } = await import(api + "/v1/intents/observe.js")
const answer = await fetch(api + "/reports/generate", { method: "POST", body: "{}", credentials: "include" })
const { intent_id, job_id, observe_url } = await answer.json()
if (answer.headers.get("Intent-Id") !== intent_id) throw new Error("Intent-Id is not exposed")
const stream = api + "/v1/intents/" + intent_id + "/events/stream", withCredentials = true
const way = follow => {
	const job = { seen: [] }
	jobs.push(job)
	job.last = follow(event => job.seen.push(event.seq + " " + event.status))
}
way(onEvent => {
	window.source = new EventSource(stream, { withCredentials })
	for (const name of names) source.addEventListener(name, event => onEvent(JSON.parse(event.data)))
})
way(onEvent => observe(stream, { onEvent, withCredentials }))
way(onEvent => observe(stream, { onEvent, withCredentials, headers: { "X-Page": "yes" } }))
way(onEvent => observe(new URL(observe_url, api), { onEvent }))
window.own = new EventSource(api + "/reports/status/" + job_id, { withCredentials })
own.onmessage = event => own.last = JSON.parse(event.data)
await until(() => jobs.every(job => job.seen.length >= 4) && own.last?.intent?.id === intent_id)
return { intent_id, job_id }
`

const finishElsewhere = `
await until(() => jobs.every(job => job.seen.at(-1).endsWith("COMPLETED")) && own.last.status === "done")
await aWhile()
return jobs.map(job => job.seen)
`

// look asks for an intent in each way, and returns what a page gets to see.
const look = `
const [api, id, credentials] = args, stream = api + "/v1/intents/" + id + "/events/stream"
const got = {}
const name = problem => problem.name
got.fetch = await fetch(stream, { credentials }).then(answer => String(answer.status), name)
got.list = await fetch(api + "/v1/intents", { credentials }).then(async answer => answer.ok ? String((await answer.text()).includes(id)) : String(answer.status), name)
got.cancel = await fetch(api + "/v1/intents/" + id, { method: "DELETE", credentials }).then(answer => String(answer.status), name)
got.observe = await import(api + "/v1/intents/observe.js").then(({ observe }) => observe(stream, { withCredentials: credentials === "include" }).catch(problem => problem.message), name)
const source = new EventSource(stream, { withCredentials: credentials === "include" })
for (const name of names) source.addEventListener(name, () => got.events = "some")
await new Promise(done => source.onerror = done)
got.source = source.readyState === EventSource.CLOSED ? "closed" : "open"
// Needs no leave to be sent, only to be read.
await fetch(api + "/v1/intents/" + id + "/resolve", { method: "POST", mode: "no-cors", credentials, body: '{"status":"CANCELED"}' })
return got
`

func TestAPageOfAnotherOriginSeesWhatItsCookieOwnsIfItsOriginMay(t *testing.T) {
	p := newPage(t, "HTTP/2.0", origins)
	api := p.at("api.example.localhost", "")
	looks := func(from, id, credentials string) (got map[string]string) {
		p.open(from)
		p.Run(look, &got, api, id, credentials)
		return got
	}
	p.as("ada")
	p.open("app.example.localhost")
	var job followedJob
	p.Run(followElsewhere, &job, api)
	p.killWhile(func() { p.backend.Finishes(job.JobID) })
	var seen [][]string
	p.Run(finishElsewhere, &seen)
	require.Len(t, seen, 4)
	for _, events := range seen {
		requireWholeLife(t, events)
	}
	streams := slices.DeleteFunc(p.asked("/v1/intents/"+job.IntentID), func(a asked) bool { return a.Request.Method == "OPTIONS" })
	require.Len(t, streams, 3, "resumed once; a request with a token is not logged")
	require.Len(t, p.asked("/reports/status/"), 1)

	p.Run(`const answer = await fetch(args[0] + "/reports/generate", { method: "POST", body: "{}", credentials: "include" })
		return await answer.json()`, &job, api)
	refused := map[string]string{"fetch": "TypeError", "list": "TypeError", "cancel": "TypeError", "observe": "TypeError", "source": "closed"}
	require.Equal(t, refused, looks("evil.example.localhost", job.IntentID, "include"), "with the owner's cookie")
	require.Equal(t, refused, looks("evil.example.localhost", job.IntentID, "omit"))
	nobody := map[string]string{"fetch": "401", "list": "401", "cancel": "401", "observe": "observing was answered with 401", "source": "closed"}
	require.Equal(t, nobody, looks("app.example.localhost", job.IntentID, "omit"))
	p.as("eve")
	foreign := map[string]string{"fetch": "404", "list": "false", "cancel": "404", "observe": "observing was answered with 404", "source": "closed"}
	require.Equal(t, foreign, looks("app.example.localhost", job.IntentID, "include"))

	p.as("ada")
	p.open("app.example.localhost")
	for _, c := range [][2]string{{"GET", "IN_PROGRESS"}, {"DELETE", "CANCELED"}} {
		var status string
		p.Run(`const answer = await fetch(args[0] + "/v1/intents/" + args[1], { method: args[2], credentials: "include" })
			return (await answer.json()).intent.status`, &status, api, job.IntentID, c[0])
		require.Equal(t, c[1], status, "nobody else has canceled it")
	}
}

// The table of jobs: how many run, how they end, and how their backends stand.

import { byID, make, note, reconcile, write } from "./dom.js"
import { ago, ahead, jobName, number, span } from "./words.js"
import { bars, plot, sparkline, stack } from "./spark.js"

// jobsOf makes one row of each job of a frame. Several stores are open while one takes over from another.
export const jobsOf = frame => frame.stores.flatMap(({ store, backends, parked = [] }) => [
	...backends.flatMap(backend => (backend.jobs ?? []).map(job => ({ ...job, backend: backend.backend, store, limit: backend.in_flight_limit, flying: backend.in_flight }))),
	...parked.map(job => ({ ...job, store })),
])

// Of a job that no config has, nobody may hold any: then they are parked all the same.
export const runningOf = job => Math.max(Object.values(job.active ?? {}).reduce((a, b) => a + b, 0), job.parked ?? 0)

export function renderJobs(frame, history, now, onPick) {
	const jobs = jobsOf(frame)
	byID("jobs-empty").hidden = jobs.length > 0
	reconcile(byID("jobs-rows"), jobs, job => JSON.stringify([job.store, job.scope, job.job]),
		job => create(job, onPick), (row, job) => update(row, job, history, now))
}

const numbers = ["all", "submitted", "delivered", "in-progress", "completed", "failed", "other", "flying", "in-line", "queued", "still"]
const order = ["all", "submitted", "delivered", "in-progress", "running", "completed", "failed", "other", "ends", "breaker", "flying", "in-line", "queued", "still"]

function create(job, onPick) {
	const cells = Object.fromEntries(order.map(name => [name, make("td", { class: numbers.includes(name) ? "n" : name })]))
	cells.running.append(sparkline())
	cells.ends.append(bars())
	cells.breaker.append(make("span", { class: "badge" }))
	cells.breaker.append(make("span", { class: "faint" }))
	const row = make("tr", {},
		make("th", { scope: "row" },
			make("button", { type: "button", class: "link said", title: "Show this job's intents", onclick: () => onPick(job) }, jobName(job))),
		...order.map(name => cells[name]))
	row.named = cells
	return row
}

function update(row, job, history, now) {
	const cells = row.named, { active = {} } = job, ends = history.totals(job, now), bins = history.of(job, now)
	const all = runningOf(job)
	const count = (name, n, wrong) => {
		write(cells[name], number(n))
		note(cells[name], { "data-zero": n === 0, "data-wrong": wrong && n > 0 })
	}
	count("all", all)
	count("submitted", (active.CREATED ?? 0) + (active.SUBMITTED ?? 0))
	count("delivered", active.DELIVERED ?? 0)
	count("in-progress", active.IN_PROGRESS ?? 0)
	count("completed", ends.COMPLETED)
	count("failed", ends.FAILED, true)
	count("other", ends.CANCELED + ends.TIMED_OUT)
	count("in-line", job.in_line)
	count("queued", job.undelivered)
	write(cells.flying, job.backend ? number(job.flying) + " / " + number(job.limit) : "")
	write(cells.still, all ? span(job.oldest_unchanged_seconds * 1000) : "")
	plot(cells.running.firstChild, bins.running, "Running in the last 10 minutes: most " + number(Math.max(0, ...bins.running.map(n => n ?? 0))))
	stack(cells.ends.firstChild, bins.ends, `Ended in the last 10 minutes: ${number(ends.COMPLETED)} completed, ${number(ends.FAILED)} failed`)
	const [state, text, more] = breaker(job, now)
	note(write(cells.breaker.firstChild, text), { "data-state": state })
	write(cells.breaker.lastChild, more)
}

function breaker(job, now) {
	switch (job.breaker) {
	case "open":
		return ["bad", "Down " + ago(job.down_since, now), "next try " + ahead(job.probe_at, now)]
	case "releasing":
		return ["warn", "Coming back", ""]
	case "closed":
		return ["good", "Up", ""]
	}
	return ["off", "No config", ""]
}

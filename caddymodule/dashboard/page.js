// The page: what comes from the stream of changes is collected, and shown at most once a second.

import { ask, follow } from "./api.js"
import { Detail } from "./detail.js"
import { byID, make, note, reconcile, say, write } from "./dom.js"
import { History } from "./history.js"
import { jobsOf, renderJobs, runningOf } from "./jobs.js"
import { Letters } from "./letters.js"
import { List } from "./list.js"
import { isOver, jobName, number, plural, time } from "./words.js"

const pace = 1000 // ms between two updates, at least
const lettersPace = 15_000

const history = new History()
let frame, state = "waiting", paused = false, renderedAt = 0, due, lettersAt = 0, refreshing = false

const detail = new Detail({ onClose: () => location.hash = "", rendered: () => detail.render(now()) })
const list = new List({ onOpen: id => location.hash = id, rendered: () => list.render(now()) })
const letters = new Letters({ rendered: () => letters.render(now()) })

// now is the time of the server: browsers' clocks are wrong.
let ahead = 0
const now = () => Date.now() + ahead

async function onChange(change) {
	frame = change
	ahead = Date.parse(change.at) - Date.now()
	for (const job of jobsOf(frame)) history.running(job, runningOf(job), now())
	for (const row of change.intents) if (isOver(row.status)) history.ended(row, now())
	if (paused || document.hidden || refreshing) return schedule()
	refreshing = true // a slow answer must not make a queue
	const asks = [list.refresh()]
	if (detail.id && (!detail.over || change.intents.some(row => row.intent_id === detail.id))) asks.push(detail.refresh())
	if (Date.now() - lettersAt > lettersPace) {
		lettersAt = Date.now()
		asks.push(letters.refresh())
	}
	await Promise.all(asks)
	refreshing = false
	schedule()
}

function schedule() {
	due ??= setTimeout(render, Math.max(0, renderedAt + pace - performance.now()))
}

function render() {
	due = undefined
	renderedAt = performance.now()
	renderHead()
	if (frame && !paused && !document.hidden) {
		const jobs = jobsOf(frame)
		list.jobs(jobs)
		renderJobs(frame, history, now(), job => list.pick({ job: JSON.stringify([job.scope, job.job]) }))
		list.render(now())
		detail.render(now())
		letters.render(now())
	}
	if (state === "live" && !document.hidden) schedule() // ages go on
}

function renderHead() {
	const text = state === "waiting" ? "Connecting" : state === "cut" ? "Not connected, trying again" : paused ? "Paused" : "Live"
	note(byID("live"), { "data-state": paused && state === "live" ? "paused" : state })
	if (byID("live-text").textContent !== text) write(byID("live-text"), text)
	if (!frame) return
	const jobs = jobsOf(frame), sum = what => jobs.reduce((n, job) => n + what(job), 0)
	const totals = [
		["running", number(sum(runningOf))],
		["in line", number(sum(job => job.in_line))],
		["queued", number(sum(job => job.undelivered))],
		["streams", number(frame.stores.reduce((n, store) => n + store.observers, 0))],
		["webhooks given up", letters.count],
	]
	reconcile(byID("totals"), totals, ([name]) => name, ([name]) => make("div", {}, make("dt", {}, name), make("dd", {})),
		(item, [, value]) => write(item.lastChild, value))
	const banners = []
	if (state === "cut") banners.push("Caddy does not answer. What is shown is as of " + time(frame.at) + ".")
	if (frame.stores.some(store => store.draining)) banners.push("This Caddy is drained: streams are ended and none begins.")
	if (frame.stores.length > 1) banners.push("One store takes over from another: " + frame.stores.map(({ store }) => store).join(", "))
	for (const job of jobs) if (job.breaker === "open") banners.push(`The backend of ${jobName(job)} is down: ${plural(runningOf(job), "intent")} wait for it.`)
	if (frame.missed) banners.push("Changes come faster than they can be told one by one: what ended is counted too low.")
	reconcile(byID("banners"), [...new Set(banners)], text => text, text => make("p", { class: "banner said" }, text), () => {})
}

byID("pause").addEventListener("click", ({ currentTarget }) => {
	paused = !paused
	currentTarget.setAttribute("aria-pressed", paused)
	render()
	if (!paused && frame) onChange({ ...frame, intents: [] })
})

addEventListener("hashchange", show)
document.addEventListener("visibilitychange", () => document.hidden || !frame || onChange({ ...frame, intents: [] }))

// show opens the intent that the address names, so that it can be linked to and gone back from.
function show() {
	const id = decodeURIComponent(location.hash.slice(1)), before = detail.id
	if (["list", ""].includes(id)) {
		detail.close()
		if (before) list.focus(before)
	} else if (id !== before) {
		detail.open(id)
	}
	list.selected = detail.id
	list.render(now())
}

// What was before the page was opened, as far as the youngest intents tell.
ask("./?limit=1000").then(({ intents, next }) => {
	for (const row of intents) if (isOver(row.status)) history.ended(row, now())
	if (!next) history.recall(intents, now())
}, () => {})

follow({
	onChange,
	onState(next) {
		if (next === "cut" && state === "live") say("Caddy does not answer.")
		if (next === "live" && state === "cut") say("Connected again.")
		state = next
		schedule()
	},
})
show()

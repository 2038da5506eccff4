// One intent: what is the matter, what the backend said last, what has happened, and what can be done.

import { ask } from "./api.js"
import { byID, make, note, reconcile, say, write } from "./dom.js"
import { confirm } from "./confirm.js"
import { ago, ahead, isOver, jobName, moment, number, plural, remark, time, words } from "./words.js"

const place = byID("detail")

export class Detail {
	id
	#intent
	#problem
	#parts
	#asked = 0
	#onClose
	#rendered

	constructor({ onClose, rendered }) {
		this.#onClose = onClose
		this.#rendered = rendered
		place.addEventListener("keydown", event => event.key === "Escape" && onClose())
	}

	get over() { return this.#intent && isOver(this.#intent.status) }

	async open(id) {
		this.id = id
		this.#intent = this.#problem = undefined
		this.#parts = build(id, this.#onClose, name => this.#act(name))
		place.replaceChildren(...this.#parts.all)
		place.hidden = false
		document.body.dataset.detail = "open"
		await this.refresh()
		this.#rendered()
		this.#parts.title.focus({ preventScroll: true })
		if (matchMedia("(max-width: 60rem)").matches) place.scrollIntoView()
	}

	close() {
		this.id = this.#intent = undefined
		place.hidden = true
		place.replaceChildren()
		delete document.body.dataset.detail
	}

	async refresh() {
		const turn = ++this.#asked, id = this.id
		if (!id) return
		try {
			const { intent } = await ask(encodeURIComponent(id))
			if (turn === this.#asked) this.#take(intent)
		} catch (problem) {
			if (turn === this.#asked) this.#problem = problem
		}
	}

	#take(intent) {
		const before = this.#intent?.status
		this.#intent = intent
		this.#problem = undefined
		if (before && before !== intent.status) say("The intent is now: " + words(intent.status))
	}

	async #act(name) {
		const id = this.id, action = actions[name]
		const { seq } = this.#intent ?? {}
		const result = await confirm({ ...action, act: body => ask(encodeURIComponent(id) + "/" + name, { method: "POST", body }) })
		if (!result || this.id !== id) return
		this.#asked++ // what was asked before knows less
		this.#take(result.intent)
		write(this.#parts.did, (result.delivery ? "Tried to deliver the submit." : action.did) + (name === "poll" ? answered(result.intent, seq) : ""))
		this.#rendered()
		if (this.over) this.#parts.title.focus({ preventScroll: true }) // the buttons are gone
	}

	render(now) {
		const v = this.#intent, parts = this.#parts
		if (!this.id) return
		write(parts.problem, this.#problem?.message ?? "")
		parts.rest.hidden = !v
		if (!v) return
		note(write(parts.status, words(v.status)), { "data-status": v.status })
		write(parts.summary, summary(v, now))
		parts.actions.hidden = isOver(v.status)
		const percent = v.status === "COMPLETED" ? 100 : v.progress
		parts.progress.hidden = percent === undefined
		if (percent !== undefined) parts.progress.value = percent
		const { bad, text } = remark(v, now)
		parts.remark.hidden = !text
		note(write(parts.remark, text), { "data-bad": bad })
		advise(parts, v)
		facts(parts.facts, v, now)
		lastAnswer(parts, v, now)
		reconcile(parts.events, v.events, event => String(event.seq), makeEvent, (item, event) => write(item.querySelector("time"), time(event.at)))
		parts.outcome.hidden = !(v.result || v.result_url)
		write(parts.resultURL, v.result_url)
		write(parts.resultBody, v.result === undefined ? "" : JSON.stringify(v.result, undefined, 2))
		parts.resultBody.hidden = v.result === undefined
	}
}

const answered = (v, seq) => v.last_poll?.code
	? ` The backend answered ${v.last_poll.code}${v.seq === seq ? ", nothing new." : "."}` : v.last_poll?.error ? " There was no answer: " + v.last_poll.error : ""

const reason = () => ({ label: "Reason, for whoever looks at it later", input: make("input", { name: "reason", maxlength: 500, autocomplete: "off" }) })

// The actions, by their names in the API.
const actions = {
	poll: {
		title: "Poll now?", yes: "Poll now", did: "Polled.",
		text: "The backend is asked for this job at once, out of its turn. Nothing else changes.",
	},
	cancel: {
		title: "Cancel the job?", yes: "Cancel the job", danger: true, did: "Canceled.",
		text: "The backend is asked to cancel the job, and the intent ends as canceled. It cannot be undone.",
		get fields() { return [reason()] },
	},
	end: {
		title: "End the intent?", yes: "End the intent", danger: true, did: "Ended.",
		text: "The intent ends and is polled no more. The backend is told nothing: its job may go on. It cannot be undone.",
		get fields() {
			return [
				{ label: "It ends as", input: make("select", { name: "status" }, make("option", { value: "FAILED" }, "Failed"), make("option", { value: "CANCELED" }, "Canceled")) },
				reason(),
			]
		},
	},
}

function build(id, onClose, act) {
	const parts = {
		title: make("h2", { id: "detail-title", tabindex: -1 }, "Intent"),
		status: make("span", { class: "badge" }),
		problem: make("p", { class: "problem", role: "alert" }),
		summary: make("p", { class: "summary said" }),
		progress: make("progress", { max: 100, "aria-label": "Progress" }),
		remark: make("p", { class: "remark said" }),
		advice: make("div", { class: "advice" }),
		did: make("p", { class: "did" }),
		facts: make("dl", { class: "facts" }),
		poll: make("section", {}),
		events: make("ol", { class: "events", reversed: true }),
		resultURL: make("p", { class: "mono said" }),
		resultBody: make("pre", { tabindex: 0, "aria-label": "Result" }),
	}
	parts.actions = make("div", { class: "actions", role: "group", "aria-label": "Actions" },
		make("button", { type: "button", onclick: () => act("poll") }, "Poll now…"),
		make("button", { type: "button", onclick: () => act("cancel") }, "Cancel…"),
		make("button", { type: "button", class: "danger", onclick: () => act("end") }, "End…"))
	parts.outcome = make("section", {}, make("h3", {}, "Result"), parts.resultURL, parts.resultBody)
	parts.rest = make("div", { class: "rest", hidden: true },
		parts.summary, parts.progress, parts.remark, parts.advice, parts.actions, parts.did,
		parts.facts, parts.outcome, parts.poll, make("section", {}, make("h3", {}, "Timeline"), parts.events))
	parts.all = [
		make("div", { class: "bar" }, parts.title, parts.status,
			make("button", { type: "button", class: "close", "aria-label": "Close the intent", onclick: onClose }, "Close")),
		make("p", { class: "mono whole" }, id), parts.problem, parts.rest,
	]
	return parts
}

const summary = (v, now) => `${jobName(v)}${v.job_id ? " · job " + v.job_id : ""} · made ${ago(v.created_at, now)} ago`

// advise says which line of the config would make a word known.
function advise(parts, v) {
	const key = v.unknown ? JSON.stringify(v.unknown) : ""
	if (parts.advice.dataset.key === key) return
	parts.advice.dataset.key = key
	parts.advice.replaceChildren(...(v.unknown && !v.unknown.add ? [
		make("p", {}, "The config does not know the state ", make("q", { class: "said" }, v.unknown.word), ", which cannot be written as a word: add a rule with when to job ", make("code", {}, v.unknown.job), "."),
	] : v.unknown ? [
		make("p", {}, "The config does not know the state ", make("q", { class: "said" }, v.unknown.word), ". If the job is done then, add to job ", make("code", {}, v.unknown.job), " and reload:"),
		make("pre", { tabindex: 0, "aria-label": "Lines to add" }, v.unknown.within + " {\n\t" + v.unknown.add + "\n}"),
		make("p", { class: "faint" }, "Instead of completed it may say " + v.unknown.or.join(", ") + "."),
	] : []))
}

const doing = { asking: "asking the backend", in_line: "in line for a poll", parked: "waiting: its job is in no config", sending: "submit to be delivered", storing: "it has ended; waiting for the store to take that", "": "waiting for the next poll" }

function facts(list, v, now) {
	const all = [
		["Next poll", ahead(v.next_poll_at, now)],
		["Doing", isOver(v.status) ? "" : v.parked ? doing.parked : v.holder.here ? doing[v.holder.doing ?? ""] ?? v.holder.doing : "held by another process"],
		["Still for", ago(v.unchanged_since, now)],
		["Deadline", isOver(v.status) ? "" : v.deadline_at && ahead(v.deadline_at, now)],
		["Watched by", isOver(v.status) ? "" : plural(v.watchers.streams, "stream")],
		["Unreadable for", v.unreadable_for],
		["Missing for", v.missing_for],
		["Delivery tries", v.delivery_attempts],
		["Kept until", v.expires_at && moment(v.expires_at)],
		["Status URL", v.status_url],
		["Client", v.client],
		["Store", v.store],
		...Object.entries(v.params ?? {}).map(([name, value]) => ["{" + name + "}", value]),
	].filter(([, value]) => value)
	reconcile(list, all, ([name]) => name, ([name]) => make("div", {}, make("dt", { class: "said" }, name), make("dd", { class: "said" })),
		(item, [, value]) => write(item.lastChild, value))
}

// lastAnswer shows the last poll. It is made anew with each poll only, so that text can be marked meanwhile.
function lastAnswer(parts, v, now) {
	const p = v.last_poll, key = p ? JSON.stringify(p) : "none"
	if (parts.poll.dataset.key !== key) {
		parts.poll.dataset.key = key
		parts.at = make("time", { datetime: p?.at })
		parts.poll.replaceChildren(...(p ? pollOf(p, parts.at) : []))
	}
	if (p) write(parts.at, ago(p.confirmed_at ?? p.at, now) + " ago")
}

const pollOf = (p, at) => [
	make("h3", {}, "Last answer ", at),
	make("p", {}, make("span", { class: "badge", "data-state": p.code >= 200 && p.code < 300 ? "good" : "bad" }, p.code ? String(p.code) : "No answer"),
		make("span", { class: "said" }, " " + [p.outcome && words(p.outcome), p.reason, p.error].filter(Boolean).join(" · ")),
		p.shared && make("span", { class: "faint" }, " One answer about several jobs: its text is not kept.")),
	p.decided?.length && make("dl", { class: "decided" }, ...p.decided.map(({ line, value, auto }) => make("div", {},
		make("dt", { class: "mono said" }, line || "by itself", auto && make("span", { class: "faint" }, " inferred")), make("dd", { class: "mono said" }, value ?? "")))),
	p.body && make("pre", { class: "said", tabindex: 0, "aria-label": "Answer of the backend" }, p.body),
	p.body && p.body_length > p.body.length && make("p", { class: "faint" }, `The beginning of ${number(p.body_length)} bytes.`),
].filter(Boolean)

function makeEvent({ status, event_type, at, details: d = {} }) {
	const type = event_type.replace(/^intent\./, "")
	const told = [
		d.job_id && "job " + d.job_id, d.attempt > 1 && "try " + d.attempt, d.message, d.unknown_state && `unknown state “${d.unknown_state}”`,
		d.waiting && "waits for: " + d.waiting, d.backend && "backend: " + d.backend, d.error && d.error.code + ": " + d.error.message,
	].filter(Boolean).join(" · ")
	return make("li", { "data-status": status },
		make("time", { datetime: at, title: moment(at) }),
		make("span", { class: "what" }, words(type), d.progress !== undefined && make("span", { class: "faint" }, " " + number(d.progress) + " %")),
		told && make("span", { class: "told said" }, told))
}

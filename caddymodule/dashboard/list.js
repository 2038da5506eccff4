// The table of intents: a page of those that a filter picks, youngest first, as they are now.

import { ask } from "./api.js"
import { byID, make, note, reconcile, write } from "./dom.js"
import { ago, ahead, isOver, jobName, moment, number, remark, words } from "./words.js"

const pageLength = 100
const form = byID("filter"), body = byID("list-rows")

export class List {
	#pages = [undefined] // what came before each page so far; the last is the one that is seen
	#next
	#rows = []
	#known = false // nothing is said of what was not answered yet
	#asked = 0
	#problem
	#onOpen
	#rendered
	selected

	constructor({ onOpen, rendered }) {
		this.#onOpen = onOpen
		this.#rendered = rendered
		form.addEventListener("submit", event => {
			event.preventDefault()
			this.#openByID()
		})
		form.addEventListener("change", event => event.target.name === "id" ? this.#openByID() : this.first())
		byID("older").addEventListener("click", () => this.#turn(() => this.#pages.push(this.#next)))
		byID("younger").addEventListener("click", () => this.#turn(() => this.#pages.pop()))
		byID("list-empty").querySelector("button").addEventListener("click", () => this.pick({ show: "", job: "" }))
		body.addEventListener("click", event => {
			const row = event.target.closest("tr")
			if (row && !getSelection().toString()) this.#onOpen(row.dataset.key)
		})
		body.addEventListener("keydown", event => this.#move(event))
	}

	// pick sets the filter.
	pick({ show, job }) {
		if (show !== undefined) form.elements.show.value = show
		if (job !== undefined) form.elements.job.value = job
		return this.first()
	}

	first() {
		this.#pages = [undefined]
		return this.refresh().then(this.#rendered)
	}

	// jobs are those that can be picked.
	jobs(jobs) {
		const names = [...new Map(jobs.map(job => [valueOf(job), job]))]
		reconcile(form.elements.job, [["", undefined], ...names], ([value]) => value,
			([value, job]) => make("option", { value }, job ? jobName(job) : "Any"), () => {})
	}

	// refresh gets the page that is seen again. An answer that another has overtaken is left.
	async refresh() {
		const turn = ++this.#asked
		try {
			const { intents, next } = await ask("./?" + this.#query())
			if (turn !== this.#asked) return
			this.#rows = intents
			this.#next = next
			this.#known = true
			this.#problem = undefined
		} catch (problem) {
			if (turn === this.#asked) this.#problem = problem
		}
	}

	#query() {
		const query = new URLSearchParams(form.elements.show.value)
		query.set("limit", pageLength)
		if (form.elements.job.value) {
			const [scope, job] = JSON.parse(form.elements.job.value)
			query.set("scope", scope)
			query.set("job", job)
		}
		if (this.#pages.at(-1)) query.set("before", this.#pages.at(-1))
		return query
	}

	async #turn(how) {
		how()
		await this.refresh()
		this.#rendered()
		byID("list").scrollIntoView()
		const button = document.activeElement // one that is at its end cannot keep the focus
		if (button === document.body || button?.disabled) byID("list").focus({ preventScroll: true })
	}

	#openByID() {
		const id = form.elements.id.value.trim()
		if (!id) return
		form.elements.id.value = ""
		this.#onOpen(id)
	}

	#move(event) {
		const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }
		const row = event.target.closest("tr")
		if (!row || !(event.key in steps)) return
		event.preventDefault()
		const rows = [...body.rows], at = rows.indexOf(row) + steps[event.key]
		rows[Math.min(Math.max(at, 0), rows.length - 1)].querySelector("a").focus()
	}

	// focus gives the focus to the row of an intent, or to the list if it is on no page that is seen.
	focus(id) {
		const row = [...body.rows].find(row => row.dataset.key === id)
		const to = row?.querySelector("a") ?? byID("list")
		to.focus()
	}

	render(now) {
		const at = [...body.rows].findIndex(row => row.contains(document.activeElement))
		reconcile(body, this.#rows, row => row.intent_id, create, (row, v) => update(row, v, now, v.intent_id === this.selected))
		if (at >= 0 && !body.contains(document.activeElement)) { // its row has gone
			(body.rows[Math.min(at, body.rows.length - 1)]?.querySelector("a") ?? byID("list")).focus({ preventScroll: true })
		}
		const filtered = form.elements.show.value !== "" || form.elements.job.value !== ""
		const empty = byID("list-empty")
		empty.hidden = (this.#rows.length > 0 || !this.#known) && !this.#problem
		empty.querySelector("button").hidden = Boolean(this.#problem) || !filtered
		write(empty.querySelector("p"), this.#problem ? "The list cannot be shown: " + this.#problem.message
			: filtered ? "No intent is like that just now." : "No intents yet. The first submit of a job makes one.")
		const from = (this.#pages.length - 1) * pageLength
		write(byID("list-note"), this.#rows.length ? `${number(from + 1)} to ${number(from + this.#rows.length)}, youngest first` : "")
		byID("older").disabled = !this.#next
		byID("younger").disabled = this.#pages.length === 1
	}
}

const valueOf = ({ scope, job }) => JSON.stringify([scope, job])

function create(v) {
	return make("tr", {},
		make("td", {}, make("span", { class: "badge" })),
		make("td", { class: "id" }, make("a", { href: "#" + v.intent_id, title: v.intent_id }, short(v.intent_id)), make("span", { class: "faint said" })),
		make("td", { class: "job said" }, jobName(v)),
		make("td", { class: "progress" }, make("progress", { max: 100, "aria-label": "Progress" }), make("span", { class: "n" })),
		make("td", { class: "note said" }),
		make("td", { class: "n age", title: moment(v.created_at) }),
		make("td", { class: "n still" }),
		make("td", { class: "n poll" }))
}

// short is enough of an id to tell it from others: the beginning is the time.
const short = id => id.slice(0, 8) + "…" + id.slice(-4)

function update(row, v, now, selected) {
	const [status, id, , progress, remarked, age, still, poll] = row.cells
	note(row, { "aria-current": selected ? "true" : undefined, "data-over": isOver(v.status) })
	note(write(status.firstChild, words(v.status)), { "data-status": v.status })
	write(id.lastChild, v.job_id)
	const percent = v.status === "COMPLETED" ? 100 : v.progress
	progress.firstChild.hidden = percent === undefined
	if (percent !== undefined) progress.firstChild.value = percent
	write(progress.lastChild, percent === undefined ? "" : number(Math.floor(percent)) + " %")
	const { bad, text } = remark(v, now)
	note(write(remarked, text), { title: text || undefined, "data-bad": bad })
	write(age, ago(v.created_at, now))
	write(still, ago(v.unchanged_since, now))
	write(poll, ahead(v.next_poll_at, now))
}

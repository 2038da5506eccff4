// The webhook messages that were given up, to be sent again or thrown away.

import { ask } from "./api.js"
import { byID, make, reconcile, write } from "./dom.js"
import { confirm } from "./confirm.js"
import { ago, jobName, number, words } from "./words.js"

export class Letters {
	#messages = []
	#known = false // nothing is said of what was not answered yet
	#problem
	#more = false
	#rendered

	constructor({ rendered }) { this.#rendered = rendered }

	get count() { return this.#known ? number(this.#messages.length) + (this.#more ? "+" : "") : "–" }
	get any() { return this.#messages.length > 0 }

	async refresh() {
		try {
			const { messages, next } = await ask("webhooks?limit=50")
			this.#messages = messages
			this.#more = Boolean(next)
			this.#known = true
			this.#problem = undefined
		} catch (problem) {
			this.#problem = problem
		}
	}

	async #act(message, action) {
		const path = "webhooks/" + encodeURIComponent(message.id)
		const result = await confirm({ ...action, act: () => ask(action.path(path), { method: action.method }) })
		if (!result) return
		await this.refresh()
		this.#rendered()
		byID("letters-title").tabIndex = -1
		byID("letters-title").focus() // the row is gone
	}

	render(now) {
		byID("letters-rows").closest("table").hidden = !this.any
		byID("letters-empty").hidden = (this.any || !this.#known) && !this.#problem
		write(byID("letters-empty"), this.#problem ? "They cannot be shown: " + this.#problem.message : "No message was given up.")
		reconcile(byID("letters-rows"), this.#messages, ({ id }) => id, message => this.#create(message), (row, message) => {
			write(row.querySelector(".tries"), number(message.attempts))
			write(row.querySelector(".given-up"), ago(message.given_up_at, now) + " ago")
		})
	}

	#create(message) {
		const type = words(message.event_type.replace(/^intent\./, ""))
		const button = (text, action) => make("button", {
			type: "button", "aria-label": text + ": " + type + " of " + message.intent_id, onclick: () => this.#act(message, action),
		}, text + "…")
		return make("tr", {},
			make("th", { scope: "row" }, type + " ", make("a", { href: "#" + message.intent_id, class: "mono", title: message.intent_id }, message.intent_id.slice(0, 8) + "…"),
				make("span", { class: "faint said" }, jobName(message))),
			make("td", { class: "said" }, message.to || "not known any more"),
			make("td", { class: "said" }, message.failure ?? ""),
			make("td", { class: "n tries" }),
			make("td", { class: "n given-up" }),
			make("td", { class: "buttons" }, button("Send again", again), button("Discard", discard)))
	}
}

const again = {
	title: "Send it again?", yes: "Send again", did: "It is being sent again.", method: "POST", path: path => path + "/replay",
	text: "The message is delivered as if it were new: now, and then for a day.",
}

const discard = {
	title: "Discard the message?", yes: "Discard", danger: true, did: "Discarded.", method: "DELETE", path: path => path,
	text: "Its receiver will not learn of this event. It cannot be undone.",
}

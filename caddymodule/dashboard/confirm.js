// What is done to an intent or a message is asked for once more, says what it will do, and tells what came of it.

import { byID, make, say, write } from "./dom.js"

const dialog = byID("confirm"), form = dialog.querySelector("form")
const yes = byID("confirm-yes"), no = byID("confirm-no"), problem = byID("confirm-problem")
let doing

// confirm shows an action {title, text, fields, yes, danger, act, done}. It stays open until act has worked or is given up,
// and returns what act did, or nothing. The fields are inputs and selects, whose values act is called with by their names.
export function confirm(action) {
	write(byID("confirm-title"), action.title)
	write(byID("confirm-text"), action.text)
	byID("confirm-fields").replaceChildren(...(action.fields ?? []).map(({ label, input }) => make("label", {}, make("span", {}, label), input)))
	write(yes, action.yes)
	yes.classList.toggle("danger", Boolean(action.danger))
	idle()
	write(problem, "")
	return new Promise(done => {
		doing = { ...action, done }
		dialog.returnValue = ""
		dialog.showModal()
		;(form.querySelector("input, select") ?? no).focus() // Enter must not do it by itself
	})
}

function idle() {
	form.removeAttribute("aria-busy")
	yes.disabled = false
}

form.addEventListener("submit", async event => {
	event.preventDefault()
	if (yes.disabled) return
	const action = doing
	form.setAttribute("aria-busy", "true")
	yes.disabled = true
	write(problem, "")
	try {
		const result = await action.act(Object.fromEntries(new FormData(form)))
		if (doing === action) close(result)
		say(action.did)
	} catch (wrong) {
		if (doing !== action) return say(action.title + " " + wrong.message)
		write(problem, wrong.message)
		no.focus()
	}
	idle()
})

no.addEventListener("click", () => close())
dialog.addEventListener("cancel", event => {
	event.preventDefault()
	close()
})

function close(result) {
	const action = doing
	doing = undefined
	dialog.close() // the focus goes back to what opened it
	idle()
	action?.done(result)
}

// The admin API, as seen from the page.

// ask sends a request, and throws what is wrong in the API's own words.
export async function ask(path, { method = "GET", body } = {}) {
	const headers = body ? { "Content-Type": "application/json" } : {}
	const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" })
		.catch(() => { throw new Error("Caddy cannot be reached.") })
	const said = await answer.json().catch(() => undefined)
	if (answer.ok && said) return said
	const problem = new Error(said?.detail ?? (typeof said?.error === "string" ? said.error : "Caddy answered " + answer.status + "."))
	problem.status = answer.status
	throw problem
}

const patience = 2000 // ms until an EventSource that gave up is replaced

// follow calls onChange with every frame of changes, for as long as the page is open, and onState with "live" and "cut".
export function follow({ onChange, onState }) {
	const source = new EventSource("changes")
	source.onopen = () => onState("live")
	source.addEventListener("change", ({ data }) => onChange(JSON.parse(data)))
	source.onerror = () => {
		onState("cut")
		if (source.readyState === EventSource.CLOSED) setTimeout(follow, patience, { onChange, onState })
	}
}

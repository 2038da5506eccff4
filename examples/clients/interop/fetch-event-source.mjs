// Follows an intent with @microsoft/fetch-event-source: node fetch-event-source.mjs URL BODY
globalThis.window = globalThis // it is made for pages
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} }
const { fetchEventSource } = await import("@microsoft/fetch-event-source")

const [url, body] = process.argv.slice(2)
const { observe_url } = await (await fetch(url, { method: "POST", body })).json()
let ended = false
// Without an onclose it takes a stream that ends cleanly for done: only the end may.
await fetchEventSource(new URL(observe_url, url).href, {
	openWhenHidden: true,
	async onopen() {}, // also where the proxy answers that nobody is there
	onmessage({ data }) {
		if (!data) return // its name for a lone retry
		const { seq, status } = JSON.parse(data)
		console.log(seq, status)
		ended = status === "COMPLETED"
	},
})
process.exit(ended ? 0 : 1)

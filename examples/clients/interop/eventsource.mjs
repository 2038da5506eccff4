// Follows an intent with the npm package eventsource: node eventsource.mjs URL BODY
// It closes nothing itself: that there is nothing after the end has to stop it.
import { EventSource } from "eventsource"

const [url, body] = process.argv.slice(2)
const { observe_url } = await (await fetch(url, { method: "POST", body })).json()
const stream = new URL(observe_url, url)
const names = ["created", "submitted", "delivered", "in_progress", "completed", "failed", "reset"]
let end

function listen() {
	const source = new EventSource(stream)
	for (const name of names) source.addEventListener("intent." + name, event => {
		const { seq, status } = JSON.parse(event.data)
		console.log(seq, status)
		if (status === "COMPLETED") end = seq
	})
	source.onerror = () => {
		if (source.readyState === source.CLOSED) process.exit(end ? 0 : 1)
		if (!end) return // cut: it comes back by itself
		source.close() // it would come back in a day: see now what it is told then
		stream.searchParams.set("since", end)
		listen()
	}
}
listen()

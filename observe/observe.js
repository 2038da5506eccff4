// Follows a stream to its end: calls onEvent with each event, in order and none twice, however often it is cut, and returns
// the last one. The url is an observe_url, or a job's own; since, the seq of an event that was seen before.
const types = ["created", "submitted", "delivered", "in_progress", "delivery_failed", "completed", "failed", "canceled", "timed_out", "reset"]
const ends = ["COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"]
const aDay = 864e5 // ms after which to come back: said with the end, also where nothing else is told of the intent

export async function observe(url, { headers, withCredentials, signal, onEvent, since } = {}) {
	url = new URL(url, globalThis.location?.href)
	if (since) url.searchParams.set("since", since)
	const running = new Set(url.searchParams.getAll("id")) // where several share a stream
	let last, position, retry = 2000
	const take = (id, data) => {
		last = JSON.parse(data)
		position = id
		onEvent?.(last)
		if (!ends.includes((last.intent ?? last).status)) return false
		running.delete(last.intent_id)
		return !running.size
	}
	signal?.throwIfAborted()
	if (!headers && globalThis.EventSource && await listen(url, { withCredentials }, signal, take)) return last

	// With headers, or where an EventSource gave up: here one learns why.
	for (;;) {
		const cut = () => signal?.throwIfAborted()
		const ask = new Headers(headers)
		ask.set("Accept", "text/event-stream")
		if (position) ask.set("Last-Event-ID", position)
		const credentials = withCredentials ? "include" : "same-origin"
		const answer = await fetch(url, { headers: ask, credentials, signal, cache: "no-store" }).catch(cut)
		if (answer?.status === 204) return last
		retry = answer?.headers.get("Retry-After") * 1000 || retry
		const streams = answer?.headers.get("Content-Type")?.startsWith("text/event-stream")
		if (!streams && answer?.status < 500 && answer.status !== 429) throw new Error("observing was answered with " + answer.status)
		const reader = streams && answer.body.pipeThrough(new TextDecoderStream()).getReader()
		try {
			for (let text = "", frame = {}, chunk; reader && !(chunk = await reader.read().catch(cut) ?? { done: true }).done;) {
				const lines = (text + chunk.value).split("\n")
				text = lines.pop()
				for (const line of lines) {
					const [, name, value] = line.match(/(.+?): (.*)/) ?? []
					if (name) frame[name] = value
					if (frame.retry < aDay) retry = frame.retry
					if (line || !frame.data) continue
					if (take(frame.id, frame.data) || frame.retry >= aDay) return last
					frame = {}
				}
			}
		} finally {
			if (reader) reader.cancel().catch(() => {})
		}
		await new Promise(done => {
			setTimeout(done, retry)
			signal?.addEventListener("abort", done)
		})
	}
}

// Listens as long as the browser does, and returns whether that was to the end.
function listen(url, init, signal, take) {
	return new Promise((done, fail) => {
		const source = new EventSource(url, init)
		const stop = (settle, value) => {
			source.close()
			settle(value)
		}
		let blind // where nothing is told of the intent a cut may have been the end
		signal?.addEventListener("abort", () => stop(fail, signal.reason))
		source.onerror = () => (blind || source.readyState === source.CLOSED) && stop(done, false)
		for (const name of ["message", ...types.map(type => "intent." + type)]) {
			source.addEventListener(name, ({ lastEventId, data }) => {
				try {
					blind = name === "message" && !JSON.parse(data).intent
					if (take(lastEventId, data)) stop(done, true)
				} catch (problem) {
					stop(fail, problem)
				}
			})
		}
	})
}

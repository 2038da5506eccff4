// Follows an intent to its end: calls onEvent with each event, in order and none twice, however often the stream is cut,
// and returns the last one. The url is an observe_url; since, the seq of an event that was seen before.
const names = ["created", "submitted", "delivered", "in_progress", "delivery_failed", "completed", "failed", "canceled", "timed_out", "reset"]
const ends = ["COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"]

export async function observe(url, { headers, signal, onEvent, since } = {}) {
	url = new URL(url, globalThis.location?.href)
	if (since) url.searchParams.set("since", since)
	let position, last, retry = 2000
	const take = (id, data) => {
		position = id
		last = JSON.parse(data)
		onEvent?.(last)
		return ends.includes((last.intent ?? last).status)
	}
	signal?.throwIfAborted()
	if (!headers && globalThis.EventSource && await listen(url, take, signal)) return last

	// With headers, or where an EventSource gave up: here one learns why.
	for (;;) {
		const ask = new Headers(headers)
		ask.set("Accept", "text/event-stream")
		if (position) ask.set("Last-Event-ID", position)
		const answer = await fetch(url, { headers: ask, signal, cache: "no-store" }).catch(() => undefined)
		if (answer?.status === 204) return last
		if (answer?.status >= 400 && answer.status < 500 && answer.status !== 429) throw new Error("observing was answered with " + answer.status)
		retry = answer?.headers.get("Retry-After") * 1000 || retry
		let text = ""
		for (const reader = answer?.ok && answer.body.pipeThrough(new TextDecoderStream()).getReader(); reader;) {
			const { done, value } = await reader.read().catch(() => ({ done: true }))
			if (done) break
			const frames = (text + value).split("\n\n")
			text = frames.pop()
			for (const frame of frames) {
				const field = name => frame.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1]
				retry = field("retry") ?? retry
				if (field("data") && take(field("id") ?? position, field("data"))) {
					reader.cancel().catch(() => {})
					return last
				}
			}
		}
		retry = text.match(/^retry: (\d+)$/m)?.[1] ?? retry
		signal?.throwIfAborted()
		await new Promise(done => {
			const timer = setTimeout(done, retry)
			signal?.addEventListener("abort", () => done(clearTimeout(timer)), { once: true })
		})
		signal?.throwIfAborted()
	}
}

// Listens as long as the browser does, and returns whether that was to the end.
function listen(url, take, signal) {
	return new Promise((done, fail) => {
		const source = new EventSource(url)
		const stop = (settle, value) => {
			source.close()
			settle(value)
		}
		signal?.addEventListener("abort", () => stop(fail, signal.reason), { once: true })
		source.onerror = () => source.readyState === source.CLOSED && stop(done, false)
		for (const name of ["message", ...names.map(name => "intent." + name)]) {
			source.addEventListener(name, ({ lastEventId, data }) => {
				try {
					if (take(lastEventId, data)) stop(done, true)
				} catch (problem) {
					stop(fail, problem)
				}
			})
		}
	})
}

// Follows a stream to its end: calls onEvent with each event, in order and none twice, however often it is cut, and returns
// the last one. The url is an observe_url, or a job's own; since, the seq of an event that was seen before.
const types = ["created", "submitted", "delivered", "in_progress", "delivery_failed", "completed", "failed", "canceled", "timed_out", "reset"]
const ends = ["COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"]
const aDay = 864e5 // ms after which to come back: said with the end, also where nothing else is told of the intent
const silent = 65e3 // ms without a sign of life, of which there is one a minute at least: the connection is dead

export async function observe(url, { headers, withCredentials, signal, onEvent, since } = {}) {
	url = new URL(url, globalThis.location?.href)
	if (since) url.searchParams.set("since", since)
	const running = new Set(url.searchParams.getAll("id")) // where several share a stream
	let last, position, retry = 2000, stop
	const take = (id, data) => {
		last = JSON.parse(data)
		position = id
		onEvent?.(last)
		if (!ends.includes((last.intent ?? last).status)) return false
		running.delete(last.intent_id)
		return !running.size
	}
	const check = () => signal?.throwIfAborted()
	const abort = () => stop?.()
	check()
	signal?.addEventListener("abort", abort)
	try {
		if (!headers && globalThis.EventSource) {
			if (await listen(url, { withCredentials }, take, fail => stop = () => fail(signal.reason))) return last
		}
		// With headers, or where an EventSource gave up: here one learns why.
		for (;;) {
			check()
			const connection = new AbortController()
			stop = () => connection.abort()
			let silence
			const alive = () => {
				clearTimeout(silence)
				silence = setTimeout(stop, silent)
			}
			try {
				alive()
				const ask = new Headers(headers)
				ask.set("Accept", "text/event-stream")
				if (position) ask.set("Last-Event-ID", position)
				const credentials = withCredentials ? "include" : "same-origin"
				const answer = await fetch(url, { headers: ask, credentials, signal: connection.signal, cache: "no-store" }).catch(check)
				if (answer?.status === 204) return last
				retry = answer?.headers.get("Retry-After") * 1000 || retry
				const streams = answer?.headers.get("Content-Type")?.startsWith("text/event-stream")
				if (!streams && answer?.status < 500 && answer.status !== 429) {
					if (!url.searchParams.has("since")) throw new Error("observing was answered with " + answer.status)
					url.searchParams.delete("since") // a job's own URL is another one with it
					position = since
					continue
				}
				const reader = streams && answer.body.pipeThrough(new TextDecoderStream()).getReader()
				for (let text = "", frame = {}, chunk; reader && !(chunk = await reader.read().catch(check) ?? { done: true }).done;) {
					alive()
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
				clearTimeout(silence)
				connection.abort()
			}
			check()
			await new Promise(wake => {
				const pause = setTimeout(wake, retry)
				stop = () => wake(clearTimeout(pause))
			})
		}
	} finally {
		signal?.removeEventListener("abort", abort)
	}
}

// Listens as long as the browser does, and returns whether that was to the end.
function listen(url, init, take, stoppable) {
	let source
	return new Promise((done, fail) => {
		stoppable(fail)
		source = new EventSource(url, init)
		let blind // where nothing is told of the intent a cut may have been the end
		source.onerror = () => (blind || source.readyState === source.CLOSED) && done(false)
		for (const name of ["message", ...types.map(type => "intent." + type)]) {
			source.addEventListener(name, ({ lastEventId, data }) => {
				try {
					blind = name === "message" && !JSON.parse(data).intent
					if (take(lastEventId, data)) done(true)
				} catch (problem) {
					fail(problem)
				}
			})
		}
	}).finally(() => source.close())
}

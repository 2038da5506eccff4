// Follows a stream to its end: calls onEvent with each event, in order and none twice, however often it is cut, and returns
// the last one. The url is an observe_url, or a job's own; since, the seq of an event that was seen before.
const ends = ["COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"]
const aDay = 864e5 // ms after which to come back: said with the end, also where nothing else is told of the intent
const silent = 65e3 // ms without a sign of life, of which there is one a minute at least: the connection is dead

export async function observe(url, { headers, withCredentials, signal, onEvent, since } = {}) {
	url = new URL(url, globalThis.location?.href)
	const query = url.searchParams
	const running = new Set(query.getAll("id")) // where several share a stream
	if (url.pathname.endsWith("/events/stream")) { // a job's own URL is another one with a query
		query.set("names", "off") // else an EventSource hears what it listens to by name only
		if (since) query.set("since", since)
	}
	let last, position, retry = 2000, stop, timer
	const check = () => signal?.throwIfAborted()
	const abort = () => stop()
	const later = (act, ms) => {
		clearTimeout(timer)
		timer = setTimeout(act, ms)
	}
	const take = async (id, data) => {
		position = id ?? position
		last = JSON.parse(data)
		onEvent?.(last)
		if (!ends.includes((last.intent ?? last).status)) return false
		running.delete(last.intent_id)
		return !running.size
	}
	check()
	signal?.addEventListener("abort", abort)
	try {
		if (!headers && globalThis.EventSource) {
			const source = new EventSource(url, { withCredentials })
			const over = new Promise((done, fail) => {
				stop = () => fail(signal?.reason)
				// Where nothing is told of the intent a cut may have been the end.
				source.onerror = () => (source.readyState > 1 || last && !last.intent_id && !last.intent) && done(false)
				source.onmessage = ({ lastEventId, data }) => take(lastEventId, data).then(over => over && done(over), fail)
			})
			if (await over.finally(() => source.close())) return last
		}
		// With headers, or where an EventSource gave up: here one learns why.
		for (;;) {
			check()
			const connection = new AbortController()
			stop = () => connection.abort()
			later(stop, silent)
			const ask = new Headers(headers)
			ask.set("Accept", "text/event-stream")
			if (position) ask.set("Last-Event-ID", position)
			const credentials = withCredentials ? "include" : "same-origin"
			const answer = await fetch(url, { headers: ask, credentials, signal: connection.signal, cache: "no-store" }).catch(check)
			if (answer?.status === 204) return last
			retry = answer?.headers.get("Retry-After") * 1000 || retry
			const streams = answer?.headers.get("Content-Type")?.startsWith("text/event-stream")
			if (!streams && answer?.status < 500 && answer.status !== 429) throw new Error("observing was answered with " + answer.status)
			const reader = streams && answer.body.pipeThrough(new TextDecoderStream()).getReader()
			for (let text = "", frame = {}, chunk; reader && (chunk = await reader.read().catch(check)) && !chunk.done;) {
				later(stop, silent)
				const lines = (text + chunk.value).split("\n")
				text = lines.pop()
				for (const line of lines) {
					const [, name, value] = line.match(/(.+?): (.*)/) ?? []
					if (name) frame[name] = value
					if (frame.retry < aDay) retry = frame.retry
					if (line || !frame.data) continue
					if (await take(frame.id, frame.data) || frame.retry >= aDay) return last
					frame = {}
				}
			}
			stop()
			check()
			await new Promise(wake => later(stop = wake, retry))
		}
	} finally {
		clearTimeout(timer)
		stop?.()
		signal?.removeEventListener("abort", abort)
	}
}

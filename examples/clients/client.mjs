// Submits a job and follows its intent to the end: node client.mjs URL BODY [cancel]
const ends = ["COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"]

// submit starts a job and returns the URL of its intent's stream.
async function submit(url, body) {
	const answer = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body })
	if (!answer.ok) throw new Error(`the submit was answered with ${answer.status}`)
	return new URL((await answer.json()).observe_url, url)
}

// observe yields all events in order, none twice, however often the stream is cut.
async function* observe(stream) {
	let position, retry = 2000
	for (;;) {
		const cut = new AbortController()
		// A sign of life comes every few seconds: silence is a dead connection.
		const silence = setTimeout(() => cut.abort(), 15_000)
		try {
			const headers = { Accept: "text/event-stream", ...position && { "Last-Event-ID": position } }
			const answer = await fetch(stream, { headers, signal: cut.signal })
			if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) {
				throw new RangeError(`the stream was answered with ${answer.status}`)
			}
			retry = answer.headers.get("Retry-After") * 1000 || retry
			let text = ""
			for await (const chunk of answer.ok ? answer.body.pipeThrough(new TextDecoderStream()) : []) {
				silence.refresh()
				const frames = (text + chunk).split("\n\n")
				text = frames.pop() // not whole yet
				for (const frame of frames) {
					const [id, data] = ["id", "data"].map(name => new RegExp(`^${name}: (.*)$`, "m").exec(frame)?.[1])
					retry = Number(/^retry: (\d+)$/m.exec(frame)?.[1] ?? retry)
					position = id ?? position
					if (data) yield JSON.parse(data)
				}
			}
			retry = Number(/^retry: (\d+)$/m.exec(text)?.[1] ?? retry) // a cut says when to come back
		} catch (problem) {
			if (problem instanceof RangeError) throw problem
		} finally {
			clearTimeout(silence)
			cut.abort()
		}
		await new Promise(done => setTimeout(done, Math.min(retry, 60_000)))
	}
}

let [url, body, cancel] = process.argv.slice(2)
const stream = await submit(url, body)
for await (const { seq, status } of observe(stream)) {
	console.log(seq, status)
	if (ends.includes(status)) process.exit(status === "COMPLETED" ? 0 : 1)
	if (cancel && status === "IN_PROGRESS") {
		await fetch(stream.href.split("/events/stream")[0], { method: "DELETE" })
		cancel = undefined
	}
}

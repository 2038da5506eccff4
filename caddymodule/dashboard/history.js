// What the page remembers of each job: how many ran, and how many ended how, in each ten seconds of the last ten minutes.

import { isOver } from "./words.js"

const width = 10_000 // ms
const length = 60
const ways = ["COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"]

const keyOf = ({ scope, job }) => JSON.stringify([scope, job])

export class History {
	#jobs = new Map()
	// The ends that were counted, younger and older ones: an intent that ends while it is looked at comes twice.
	#counted = [new Map(), new Map()]
	#turned = Date.now()

	// of returns the bins of a job, the last of them that of now.
	of(job, now) {
		const current = Math.floor(now / width)
		let bins = this.#jobs.get(keyOf(job))
		if (!bins) {
			bins = { at: current, running: Array(length).fill(undefined), ends: Array.from({ length }, () => ({})) }
			this.#jobs.set(keyOf(job), bins)
		}
		for (let n = Math.min(current - bins.at, length); n > 0; n--) {
			bins.running.shift()
			bins.running.push(bins.running.at(-1))
			bins.ends.shift()
			bins.ends.push({})
		}
		bins.at = Math.max(bins.at, current)
		return bins
	}

	running(job, n, now) {
		this.of(job, now).running[length - 1] = n
	}

	// recall fills in how many ran before, from all intents that there are.
	recall(rows, now) {
		for (const row of rows) this.of(row, now)
		for (const [key, bins] of this.#jobs) {
			const ofJob = rows.filter(row => keyOf(row) === key).map(row => ({
				begun: Date.parse(row.created_at), over: isOver(row.status) ? Date.parse(row.updated_at) : Infinity,
			}))
			bins.running = bins.running.map((known, i) => {
				const at = (bins.at - length + 1 + i) * width
				return known ?? ofJob.filter(({ begun, over }) => begun <= at && at < over).length
			})
		}
	}

	ended(row, now) {
		if (this.#counted.some(ids => ids.has(row.intent_id))) return
		const bins = this.of(row, now)
		const bin = bins.ends[length - 1 - (bins.at - Math.floor(Date.parse(row.updated_at) / width))]
		if (!bin) return
		bin[row.status] = (bin[row.status] ?? 0) + 1
		if (now - this.#turned > width * length) {
			this.#counted = [new Map(), this.#counted[0]]
			this.#turned = now
		}
		this.#counted[0].set(row.intent_id, true)
	}

	// totals counts how the last ten minutes ended.
	totals(job, now) {
		const sum = Object.fromEntries(ways.map(way => [way, 0]))
		for (const bin of this.of(job, now).ends) for (const way of ways) sum[way] += bin[way] ?? 0
		return sum
	}
}

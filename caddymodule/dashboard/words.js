// How things are said: statuses, times and numbers.

const ended = new Set(["COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"])

export const isOver = status => ended.has(status)

export const words = text => {
	const said = String(text).toLowerCase().replaceAll("_", " ")
	return said.charAt(0).toUpperCase() + said.slice(1)
}

const format = new Intl.NumberFormat("en", { maximumFractionDigits: 1 })
export const number = n => format.format(n)

export const plural = (n, one, many = one + "s") => number(n) + " " + (n === 1 ? one : many)

// span says how long, as short as can be.
export function span(ms) {
	const s = Math.max(0, Math.floor(ms / 1000))
	if (s < 60) return s + " s"
	if (s < 3600) return Math.floor(s / 60) + " min"
	if (s < 172800) return Math.floor(s / 3600) + " h " + String(Math.floor(s / 60) % 60).padStart(2, "0")
	return Math.floor(s / 86400) + " d"
}

export const ago = (at, now) => at ? span(now - Date.parse(at)) : ""

export function ahead(at, now) {
	if (!at) return ""
	const ms = Date.parse(at) - now
	return ms <= 0 ? "now" : "in " + span(ms + 999)
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })
const calendar = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" })

export const time = at => clock.format(new Date(at))
export const moment = at => calendar.format(new Date(at))

export const jobName = ({ scope, job }) => scope === "default" || !scope ? job : scope + "/" + job

// remark says what is the matter with an intent, or what its job last said.
export function remark(row, now) {
	const all = []
	if (row.error) all.push(row.error.code + ": " + row.error.message)
	if (row.unknown_state && !isOver(row.status)) all.push(`unknown state “${row.unknown_state}”`)
	if (row.parked) all.push("its job is in no config: it waits for its deadline")
	else if (row.backend_down_since) all.push("backend down for " + ago(row.backend_down_since, now))
	else if (row.waiting) all.push("waits for: " + row.waiting)
	if (row.poll_failures) all.push(plural(row.poll_failures, "poll") + " failed, for " + ago(row.failing_since, now))
	return { bad: all.length > 0, text: all.join("; ") || row.message || "" }
}

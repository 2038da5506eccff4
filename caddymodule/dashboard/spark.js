// Small pictures of numbers over time, as wide as sixty bins.

import { draw, note } from "./dom.js"

const wide = 120, high = 24

export const sparkline = () => draw("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "img" },
	draw("path", { class: "area" }), draw("path", { class: "line" }))

// plot draws a line over as much time as is known: what was before the page was opened may not be.
export function plot(svg, values, label) {
	const known = values.filter(v => v !== undefined)
	const most = Math.max(1, ...known)
	if (known.length === 1) known.unshift(known[0])
	const points = known.map((v, i) => [i / (known.length - 1) * wide, high - 2 - v / most * (high - 4)])
	const line = points.map(([px, py]) => px.toFixed(1) + " " + py.toFixed(1)).join("L")
	note(svg.children[1], { d: line && "M" + line })
	note(svg.children[0], { d: line && `M${points[0][0].toFixed(1)} ${high}L${line}L${points.at(-1)[0].toFixed(1)} ${high}Z` })
	note(svg, { "aria-label": label })
}

const x = (i, n) => (i + 1) / n * wide

export const bars = () => draw("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "img" },
	...["good", "bad", "other"].map(name => draw("path", { class: name })))

// stack draws one bar for each bin: what went well at the bottom.
export function stack(svg, bins, label) {
	const parts = bins.map(bin => [bin.COMPLETED ?? 0, bin.FAILED ?? 0, (bin.CANCELED ?? 0) + (bin.TIMED_OUT ?? 0)])
	const most = Math.max(1, ...parts.map(part => part.reduce((a, b) => a + b)))
	for (const way of [0, 1, 2]) {
		let d = ""
		parts.forEach((part, i) => {
			const below = part.slice(0, way).reduce((a, b) => a + b, 0)
			const scale = (high - 2) / most
			if (part[way]) d += `M${x(i, bins.length) - 1.8} ${(high - below * scale).toFixed(1)}v${-Math.max(1, part[way] * scale).toFixed(1)}h1.6v${Math.max(1, part[way] * scale).toFixed(1)}z`
		})
		note(svg.children[way], { d })
	}
	note(svg, { "aria-label": label })
}

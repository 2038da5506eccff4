// What the page is made of. All text goes in as text: nothing that a backend or a client says can be markup.

export const byID = id => document.getElementById(id)

export function make(tag, attributes = {}, ...children) {
	const element = document.createElement(tag)
	for (const [name, value] of Object.entries(attributes)) {
		if (typeof value === "function") element.addEventListener(name.slice(2), value)
		else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value)
	}
	element.append(...children.filter(child => child !== undefined && child !== null && child !== false))
	return element
}

// draw is make for SVG.
export function draw(tag, attributes = {}, ...children) {
	const element = document.createElementNS("http://www.w3.org/2000/svg", tag)
	for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
	element.append(...children)
	return element
}

// write touches an element only if it says something else: a reader of screens is told of every change.
export function write(element, text) {
	text = String(text ?? "")
	if (element.textContent !== text) element.textContent = text
	return element
}

// note sets attributes that have changed.
export function note(element, attributes) {
	for (const [name, value] of Object.entries(attributes)) {
		if (value === undefined || value === false) element.removeAttribute(name)
		else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value)
	}
	return element
}

// reconcile makes the children those of items, in their order. What stays is neither made anew nor moved, so that it
// keeps the focus.
export function reconcile(parent, items, key, create, update) {
	const wanted = new Map(items.map(item => [key(item), item]))
	for (const child of [...parent.children]) if (!wanted.has(child.dataset.key)) child.remove()
	const there = new Map([...parent.children].map(child => [child.dataset.key, child]))
	let next = parent.firstElementChild
	for (const [name, item] of wanted) {
		let child = there.get(name)
		if (!child) {
			child = create(item)
			child.dataset.key = name
		}
		if (child === next) next = next.nextElementSibling
		else parent.insertBefore(child, next)
		update(child, item)
	}
}

// say tells those who cannot see what has happened.
export function say(text) {
	const element = byID("announce")
	element.textContent = ""
	setTimeout(() => element.textContent = text, 50) // the same words twice are to be said twice
}

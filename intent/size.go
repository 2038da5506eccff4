package intent

import (
	"unicode"
	"unicode/utf8"
)

// Backends are hostile, and JSON makes some characters longer: a control takes six
// bytes as \u0000, and so does what ends a line in some client (U+0085, U+2028,
// U+2029), which frames escape. So sizes are counted as a frame will have them.

// escape is the length of \u0000.
const escape = 6

// clip cuts s, between characters, such that it takes at most n bytes in a JSON
// string of a frame, and marks the cut.
func clip(s string, n int) string {
	const mark = "…"
	used, cut := 0, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		used += inString(r, size)
		i += size
		if used > n {
			return s[:cut] + mark
		}
		if used <= n-len(mark) {
			cut = i
		}
	}
	return s
}

// sizeInFrame is how many bytes a JSON value takes in a frame, at most.
func sizeInFrame(value []byte) int {
	used := 0
	for i := 0; i < len(value); {
		r, size := utf8.DecodeRune(value[i:])
		if r >= utf8.RuneSelf && escaped(r, size) {
			used += escape
		} else {
			used += size
		}
		i += size
	}
	return used
}

func inString(r rune, size int) int {
	switch {
	case r == '"', r == '\\', r == '\n', r == '\r', r == '\t':
		return len(`\n`)
	case escaped(r, size):
		return escape
	}
	return size
}

// escaped tells which characters no frame has as they are. A byte that is not
// UTF-8 decodes as a RuneError of size 1.
func escaped(r rune, size int) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError && size == 1
}

// Package sse is the wire format of server-sent events (WHATWG HTML, section
// 9.2): an encoder whose output every parser we know of reads the same way, and
// a decoder that follows the standard.
//
// The encoder is stricter than the standard asks, because parsers are sloppier
// than it allows. Some split lines at any Unicode line break, some dispatch an
// empty event at every blank line, some keep only the last data line, some read
// one chunk as one event. So: LF only, one data line, no blank line but the one
// that ends a frame, and a frame is one slice for one write.
package sse

import (
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// ContentType has no charset parameter: the format knows no encoding but UTF-8,
// and there are clients that compare the whole value.
const ContentType = "text/event-stream"

// Heartbeat keeps a quiet stream alive. It is a comment without a blank line:
// many parsers take a blank line for an event with empty data.
const Heartbeat = ":\n"

// A Frame is one event.
type Frame struct {
	ID    string // the last event id as of this frame
	Event string // "message" where the frame names none
	Data  string
}

// AppendFrame appends one event to dst. Data is JSON; it comes out as one line of
// JSON with the same value, in which no line break and no control character of
// any kind is left. Whatever it is given, exactly one event comes out.
func AppendFrame(dst []byte, id, event string, data []byte) []byte {
	if id != "" {
		dst = appendField(dst, "id: ", id)
	}
	if event != "" {
		dst = appendField(dst, "event: ", event)
	}
	dst = append(dst, "data: "...)
	dst = appendJSON(dst, data)
	return append(dst, "\n\n"...)
}

// AppendRetry appends how long the client should wait before it comes back.
func AppendRetry(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, max(d.Milliseconds(), 0), 10)
	return append(dst, '\n')
}

// appendField appends a line. Ids and event names are our own words; characters
// that could end the line are dropped all the same.
func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	for _, r := range value {
		if !breaks(r) {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '\n')
}

// appendJSON appends data on one line. It is a single pass that relies on what
// JSON is: a control character below U+0020 can only be space between tokens, so
// it is dropped; everything else that is escaped here can only be in a string.
// Bytes that are no UTF-8 become U+FFFD, or a decoder that takes them for another
// encoding might see a line break in them.
func appendJSON(dst, data []byte) []byte {
	for len(data) > 0 {
		n := plain(data)
		dst = append(dst, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			break
		}
		r, size := utf8.DecodeRune(data)
		switch {
		case r < ' ':
		case r == utf8.RuneError && size == 1, breaks(r):
			dst = appendEscape(dst, r)
		default:
			dst = append(dst, data[:size]...)
		}
		data = data[size:]
	}
	return dst
}

// plain returns how many bytes at the start of data are printable ASCII.
func plain(data []byte) int {
	for i, c := range data {
		if c < ' ' || c >= 0x7f {
			return i
		}
	}
	return len(data)
}

// breaks reports whether r could end a line for some parser: controls (NEL,
// U+0085, is one), LINE SEPARATOR and PARAGRAPH SEPARATOR.
func breaks(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

// appendEscape appends r, which is in the basic plane, as \uXXXX.
func appendEscape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
}

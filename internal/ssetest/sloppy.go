// Package ssetest reads event streams as sloppy clients do, to hold what is written
// against more than the standard.
package ssetest

import "strings"

// An Event is what a client makes of a frame.
type Event struct{ ID, Event, Data string }

// Sloppy reads a stream as clients do that take lines apart with what their language
// has for that: at every line break that Unicode or ASCII knows (Python's splitlines,
// the widest of them). Of several data lines the last one stays, space around values
// goes, and a field before the first blank line makes an event even without data.
func Sloppy(stream string) (events []Event) {
	var e Event
	begun := false
	for _, line := range lines(stream) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "id":
			e.ID, begun = value, true
		case "event":
			e.Event, begun = value, true
		case "data":
			e.Data, begun = value, true
		case "":
			if line == "" && begun {
				events = append(events, e)
				e, begun = Event{}, false
			}
		}
	}
	return events
}

// lines takes a stream apart; what no line break follows is none.
func lines(stream string) (all []string) {
	var line strings.Builder
	for _, c := range strings.ReplaceAll(stream, "\r\n", "\n") {
		if !breaks(c) {
			line.WriteRune(c)
			continue
		}
		all = append(all, line.String())
		line.Reset()
	}
	return all
}

// breaks reports whether somebody ends a line at c.
func breaks(c rune) bool {
	return strings.ContainsRune("\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029\x00", c)
}

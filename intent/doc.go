// Package intent is the vocabulary of caddy-intents: what an intent, its status
// and its events are, which status may follow which, and what a reading of the
// backend's answer does to an intent.
//
// Everything here is a value or a pure function: no clock, no I/O, no goroutine.
// A caller passes the intent as it stands, what happened, and the time; it gets
// the intent as it then stands and the events to store. The engine makes them
// durable, the store numbers nothing and decides nothing.
//
// The life of an intent, with the function that takes each step:
//
//	Begin    ""          -> CREATED, SUBMITTED       the client's POST is known
//	Deliver  SUBMITTED   -> DELIVERED                the backend's answer named a job
//	Apply    DELIVERED   -> IN_PROGRESS              the first reading
//	Apply    IN_PROGRESS -> IN_PROGRESS              progress, a message
//	Apply    IN_PROGRESS -> COMPLETED | FAILED | CANCELED | TIMED_OUT
//	End      any         -> FAILED | CANCELED | TIMED_OUT   for a reason of our own
//
// The arrows are in the table of status.go and drawn in docs/states.md; a test
// holds the two together.
//
// An intent has at most [MaxEvents] events, so that its log can always be read
// whole and replayed from any cursor; see budget.go for who gets a place.
package intent

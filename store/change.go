package store

import "github.com/caddy-intents/caddy-intents/intent"

// Follows reports whether the change is sound in itself: its events are about its
// intent, count on from After without a gap, and end where the intent stands. A
// store answers ErrConflict to any other.
func (c *Change) Follows() bool {
	return follow(&c.Intent, c.After, c.Events)
}

// Begins reports whether events can be the first of an intent, which is what
// Create asks for. A reservation has none.
func Begins(in *intent.Intent, events []intent.Event) bool {
	return len(events) > 0 && follow(in, 0, events)
}

func follow(in *intent.Intent, after int64, events []intent.Event) bool {
	for i := range events {
		if events[i].IntentID != in.ID || events[i].Seq != after+int64(i)+1 {
			return false
		}
	}
	return in.Seq == after+int64(len(events))
}

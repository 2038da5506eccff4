package observe

import (
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A tail is what the observers in a room were rung for and not all of them have looked
// for yet: it spares them the read of what was in memory a moment ago. It begins with
// the first ring after all had looked, is whole unless lost, and is gone when the last
// of them has looked. Whoever stands where it does not reach reads the store.
type tail struct {
	generation int64
	facts      []fact // the latest, in order and without a gap
	end        int64  // seq of the last that was rung for
	size       int    // of facts, in bytes
	lost       bool   // a ring was about something else than the next events
}

// Bounds of a tail: many intents have one observer each, and a reader that takes nothing
// keeps it for as long as a write may take.
const (
	maxTail      = 8       // events
	maxTailBytes = 4 << 10 // of their JSON, which a frame can make six times as long
)

// add takes what a ring brought, nil if nothing came with it.
func (t *tail) add(n *store.News) {
	if n == nil || t.end != 0 && (n.Generation != t.generation || n.Events[0].Seq != t.end+1) {
		*t = tail{end: t.end, lost: true}
	}
	if t.lost {
		return
	}
	t.generation = n.Generation
	for _, e := range n.Events {
		t.facts = append(t.facts, fact{seq: e.Seq, kind: e.Type, status: e.Status, data: e.JSON})
		t.size += len(e.JSON)
		t.end = e.Seq
	}
	for len(t.facts) > maxTail || t.size > maxTailBytes {
		t.size -= len(t.facts[0].data)
		t.facts = t.facts[1:]
	}
}

// after returns what follows a place, if the tail has all of it.
func (t *tail) after(p place) (facts []fact, ok bool) {
	if t.lost || t.end == 0 || p.generation != t.generation || p.seq > t.end {
		return nil, false
	}
	from := int64(len(t.facts)) - (t.end - p.seq)
	if from < 0 {
		return nil, false
	}
	return t.facts[from:], true
}

// A fact is an event that is ready to be sent: its JSON is the same for all observers.
type fact struct {
	seq    int64
	kind   intent.EventType
	status intent.Status
	data   []byte        // nil if the event is no JSON
	event  *intent.Event // nil in a tail, where data is small enough for a frame as it is
}

func factsOf(events []intent.Event) []fact {
	facts := make([]fact, len(events))
	for i := range events {
		e := &events[i]
		facts[i] = fact{seq: e.Seq, kind: e.Type, status: e.Status, event: e}
		if data, err := e.AppendJSON(nil); err == nil { // if not, a frame finds out what the matter is
			facts[i].data = data
		}
	}
	return facts
}

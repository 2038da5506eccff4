package redisstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/caddy-intents/caddy-intents/intent"
)

// An intent is a hash and a list of events, see the decision note on keys. Its fields:
//
//	o   JSON of intent.Origin without Request; never changes
//	r   Request, if it is captured
//	l   JSON of latest
//	g   the generation, if it was raised
//	h   epoch and owner: "3:kq2Vb1xA", without an owner where nobody holds it
//	q   the name of its job in the schedule
//	j   its name in the job index, once it is there
//	t   token of the call that made it
//	x   when it expires, once it has ended
//	rp  JSON of store.Replay

// latest is what changes.
type latest struct {
	intent.Delivery
	intent.Latest
	intent.Polling
}

var errDamaged = errors.New("damaged record")

func encodeOrigin(in *intent.Intent) ([]byte, error) {
	origin := in.Origin
	origin.Request = nil
	b, err := json.Marshal(origin)
	if err != nil {
		return nil, fmt.Errorf("encoding the origin of intent %s: %w", in.ID, err)
	}
	return b, nil
}

func encodeLatest(in *intent.Intent) ([]byte, error) {
	b, err := json.Marshal(latest{in.Delivery, in.Latest, in.Polling})
	if err != nil {
		return nil, fmt.Errorf("encoding intent %s: %w", in.ID, err)
	}
	return b, nil
}

// decodeIntent puts the fields o, r, l and g together; nil stands for one that is not
// there. No origin: there is no intent, and false.
func decodeIntent(id intent.ID, fields []any) (in intent.Intent, found bool, err error) {
	if len(fields) != 4 {
		return in, false, errDamaged
	}
	origin, ok := fields[0].(string)
	if !ok {
		return in, false, nil
	}
	in.ID = id
	if err := json.Unmarshal([]byte(origin), &in.Origin); err != nil {
		return in, false, fmt.Errorf("decoding the origin of intent %s: %w", id, err)
	}
	text, _ := fields[2].(string)
	var l latest
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return in, false, fmt.Errorf("decoding intent %s: %w", id, err)
	}
	in.Delivery, in.Latest, in.Polling = l.Delivery, l.Latest, l.Polling
	in.Request, in.Captured = nil, false
	if request, ok := fields[1].(string); ok {
		in.Request, in.Captured = []byte(request), true
	}
	if raised, ok := fields[3].(string); ok {
		if in.Generation, err = strconv.ParseInt(raised, 10, 64); err != nil {
			return in, false, fmt.Errorf("decoding the generation of intent %s: %w", id, err)
		}
	}
	return in, true, nil
}

// encodeEvents returns the JSON of each event.
func encodeEvents(events []intent.Event) ([]any, error) {
	encoded := make([]any, len(events))
	for i := range events {
		b, err := json.Marshal(&events[i])
		if err != nil {
			return nil, fmt.Errorf("encoding event %d of intent %s: %w", events[i].Seq, events[i].IntentID, err)
		}
		encoded[i] = b
	}
	return encoded, nil
}

func decodeEvents(encoded []any) ([]intent.Event, error) {
	var events []intent.Event
	for _, e := range encoded {
		text, _ := e.(string)
		var event intent.Event
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			return nil, fmt.Errorf("decoding an event: %w", err)
		}
		events = append(events, event)
	}
	return events, nil
}

// slice is an array in a script's answer.
func slice(v any) []any {
	s, _ := v.([]any)
	return s
}

// flag is how a script is told of a truth.
func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

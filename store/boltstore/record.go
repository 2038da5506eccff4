package boltstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A record is the changing part of an intent. In front of its JSON stands a head
// of fixed size with what has to be known to accept a change, so that the one
// goroutine that writes never parses JSON:
//
//	format 1 | indexed 1 | granted 8 | epoch 8 | seq 8 | JSON of latest
type record struct {
	indexed bool   // the job index was given this intent once
	granted uint64 // the run of the store that last granted it by a write; see claims.go
	epoch   int64
	seq     int64
	latest  []byte
}

const (
	recordFormat = 1
	headSize     = 1 + 1 + 8 + 8 + 8
)

// latest is what the JSON of a record holds.
type latest struct {
	intent.Delivery
	intent.Latest
	intent.Polling
}

var errDamaged = errors.New("damaged record")

func (r *record) encode() []byte {
	b := make([]byte, 0, headSize+len(r.latest))
	b = append(b, recordFormat, 0)
	if r.indexed {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, r.granted)
	b = binary.BigEndian.AppendUint64(b, uint64(r.epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(r.seq))
	return append(b, r.latest...)
}

// parseRecord reads the head. The record's JSON is a part of b, which belongs to
// the transaction that b was read in.
func parseRecord(b []byte) (record, error) {
	if len(b) < headSize || b[0] != recordFormat {
		return record{}, errDamaged
	}
	return record{
		indexed: b[1] == 1,
		granted: binary.BigEndian.Uint64(b[2:]),
		epoch:   int64(binary.BigEndian.Uint64(b[10:])),
		seq:     int64(binary.BigEndian.Uint64(b[18:])),
		latest:  b[headSize:],
	}, nil
}

// encodeLatest returns the JSON of a record.
func encodeLatest(in *intent.Intent) ([]byte, error) {
	b, err := json.Marshal(latest{in.Delivery, in.Latest, in.Polling})
	if err != nil {
		return nil, fmt.Errorf("encoding intent %s: %w", in.ID, err)
	}
	return b, nil
}

// encodeOrigin returns the JSON of what never changes. The request is kept apart.
func encodeOrigin(in *intent.Intent) ([]byte, error) {
	origin := in.Origin
	origin.Request = nil
	b, err := json.Marshal(origin)
	if err != nil {
		return nil, fmt.Errorf("encoding the origin of intent %s: %w", in.ID, err)
	}
	return b, nil
}

// decodeScope reads no more of an origin than the scope.
func decodeScope(id intent.ID, origin []byte) (string, error) {
	var o struct {
		Scope string `json:"scope"`
	}
	if err := json.Unmarshal(origin, &o); err != nil {
		return "", fmt.Errorf("decoding the origin of intent %s: %w", id, err)
	}
	return o.Scope, nil
}

// decodeIntent puts the parts of an intent together. The answer shares no memory
// with them.
func decodeIntent(id intent.ID, origin, request, latestJSON []byte) (intent.Intent, error) {
	in := intent.Intent{ID: id}
	if err := json.Unmarshal(origin, &in.Origin); err != nil {
		return intent.Intent{}, fmt.Errorf("decoding the origin of intent %s: %w", id, err)
	}
	var l latest
	if err := json.Unmarshal(latestJSON, &l); err != nil {
		return intent.Intent{}, fmt.Errorf("decoding intent %s: %w", id, err)
	}
	in.Request, in.Captured = bytes.Clone(request), request != nil
	in.Delivery, in.Latest, in.Polling = l.Delivery, l.Latest, l.Polling
	return in, nil
}

// encodeEvents returns the JSON of events that are stored together, and that of each,
// which is a part of it; nil for none. It is not changed from then on.
func encodeEvents(events []intent.Event) (all []byte, each [][]byte, err error) {
	if len(events) == 0 {
		return nil, nil, nil
	}
	const usual = 256 // bytes
	all = append(make([]byte, 0, usual*len(events)), '[')
	ends := make([]int, len(events))
	for i := range events {
		if i > 0 {
			all = append(all, ',')
		}
		if all, err = events[i].AppendJSON(all); err != nil {
			return nil, nil, fmt.Errorf("encoding event %d of intent %s: %w", events[i].Seq, events[i].IntentID, err)
		}
		ends[i] = len(all)
	}
	all = append(all, ']')
	each = make([][]byte, len(events))
	from := 1
	for i, end := range ends {
		each[i] = all[from:end:end]
		from = end + 1
	}
	return all, each, nil
}

// decodeEvents reads what encodeEvents wrote, or the one event that schema 1 has in its
// place.
func decodeEvents(b []byte) (events []intent.Event, err error) {
	if bytes.HasPrefix(b, []byte("{")) {
		events = make([]intent.Event, 1)
		return events, json.Unmarshal(b, &events[0])
	}
	return events, json.Unmarshal(b, &events)
}

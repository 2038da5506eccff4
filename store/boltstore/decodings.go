package boltstore

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Decodings are the intents that were read last, and the text that each was made of. A job
// that runs is read at each poll and hardly ever changes, and to decode an intent takes
// twenty times as long as to see that its text is the same.
//
// Each intent has one place, which it shares with others, so that nothing has to be locked
// or ordered. All together are about 10 MiB.
type decodings [4096]atomic.Pointer[decoding]

type decoding struct {
	id   intent.ID
	text []byte // its origin, and then what changes
	in   intent.Intent
}

// maxDecoding bounds the text of one that is kept, in bytes. Of so many intents that find
// another one in their place one takes it: where more are polled than there is room for,
// to keep them all in turn would be work for nothing.
const (
	maxDecoding = 2 << 10
	displaces   = 8
)

// decode is decodeIntent.
func (d *decodings) decode(id intent.ID, origin, request, latest []byte) (intent.Intent, error) {
	place := &d[binary.BigEndian.Uint16(id[len(id)-2:])%uint16(len(d))]
	known := place.Load()
	mine := known == nil || known.id == id
	if known != nil && mine && known.madeOf(origin, latest) {
		in := apart(&known.in)
		in.Request, in.Captured = bytes.Clone(request), request != nil
		return in, nil
	}
	in, err := decodeIntent(id, origin, request, latest)
	if err == nil && len(origin)+len(latest) <= maxDecoding && (mine || rand.IntN(displaces) == 0) {
		kept := apart(&in)
		kept.Request = nil
		place.Store(&decoding{id, slices.Concat(origin, latest), kept})
	}
	return in, err
}

func (d *decoding) madeOf(origin, latest []byte) bool {
	return len(d.text) == len(origin)+len(latest) && bytes.Equal(d.text[:len(origin)], origin) && bytes.Equal(d.text[len(origin):], latest)
}

// apart is an intent that shares nothing that can be changed with another one, but for
// Request.
func apart(in *intent.Intent) intent.Intent {
	out := *in
	out.Envelope = copied(in.Envelope)
	out.Params = maps.Clone(in.Params)
	out.Progress = copied(in.Progress)
	out.Result = slices.Clone(in.Result)
	out.Error = copied(in.Error)
	out.Outgoing = copied(in.Outgoing)
	return out
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

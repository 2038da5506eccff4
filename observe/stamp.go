package observe

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A backend may give a job's id, and with it the job's URL, to another job later. On
// that URL the id of an event is stamped with its intent: who comes back with one of
// the job before has not seen the end of this one, though the numbers were the same.
//
//	stamp 32 | event id 20
//
// It is a number still, of which JavaScript keeps every digit. Event ids come to 20 bits
// when a store has lost its tail 1024 times; those are not stamped.
const stampedBits = 20

// stamped puts the intent's stamp on an event id. It is a hash: who may follow the job
// need not be one who may know the intent's id.
func stamped(in *intent.Intent, id int64) int64 {
	if id>>stampedBits != 0 {
		return id
	}
	hash := sha256.Sum256(in.ID[:])
	stamp := binary.BigEndian.Uint32(hash[:]) | 1<<31 // above every id without one
	return int64(stamp)<<stampedBits | id
}

// unstamped takes the intent's own stamp off; every other number stays what it is.
func unstamped(in *intent.Intent, id int64) int64 {
	if plain := id & (1<<stampedBits - 1); id >= 0 && stamped(in, plain) == id {
		return plain
	}
	return id
}

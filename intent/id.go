package intent

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/google/uuid"
)

// An ID names an intent: a UUID of version 8 (RFC 9562, section 5.8) with 32 bits
// of Unix seconds, 8 bits of shard and 82 random bits. Ids made later sort later,
// to the second, or closer where the shard tells the time within it; that keeps a
// store's newest records side by side. Where no owner is configured, knowing an id
// grants reading it: 82 bits cannot be guessed.
type ID uuid.UUID

// ErrBadID is returned by [ParseID].
var ErrBadID = errors.New("not an intent id")

// NewID returns an id that nobody else has.
func NewID(now time.Time, shard uint8) ID {
	var id ID
	_, _ = rand.Read(id[5:]) // never fails: crypto/rand ends the process instead
	binary.BigEndian.PutUint32(id[:4], uint32(now.Unix()))
	id[4] = shard
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id
}

// LeastID sorts before every id that is made in the second of now or later, and after
// all that were made earlier. It is nobody's.
func LeastID(now time.Time) ID {
	var id ID
	binary.BigEndian.PutUint32(id[:4], uint32(min(max(now.Unix(), 0), math.MaxUint32)))
	return id
}

// ParseID reads the canonical form, 36 characters in lower case, and no other: an
// intent has one name.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return ID{}, ErrBadID
	}
	return ID(u), nil
}

// Shard is the part of the store that the intent lives in.
func (id ID) Shard() uint8 { return id[4] }

func (id ID) String() string { return uuid.UUID(id).String() }

// MarshalText and UnmarshalText make an id a string in JSON.
func (id ID) MarshalText() ([]byte, error) { return uuid.UUID(id).MarshalText() }

func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	*id = parsed
	return err
}

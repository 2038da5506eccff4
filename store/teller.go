package store

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Teller is a store that several processes share, in one part more: by it they tell
// each other of their polls, so that one poll answers the clients of all. Nothing of it
// is durable, and all of it can be lost: who is told nothing asks the backend.
type Teller interface {
	// Want asks whoever holds the intent to tell of its polls at least until then.
	Want(ctx context.Context, id intent.ID, until time.Time) error

	// Void tells everybody that what is known of the intent's job is worthless, because
	// somebody has done something to it.
	Void(ctx context.Context, id intent.ID) error

	// Tell keeps what the holder of an intent knows of its polls, in place of what was
	// kept, and signals it. It is kept for TellingKept; who held an intent as it ended may
	// tell that. ErrMissing: the body is not kept, and has to come with it.
	Tell(ctx context.Context, l Lease, t Telling) error

	// Told returns what was told last, ErrNotFound if nothing is kept. The body is left
	// out if its mark is the one that the caller knows.
	Told(ctx context.Context, id intent.ID, known string) (Telling, error)
}

// TellingKept is how long a telling is kept at least.
const TellingKept = 2 * time.Minute

// A Telling is what is known of the polls of an intent.
type Telling struct {
	// At is as of when. To who reads it, it is a time by their own clock, and not later
	// than it was: two machines need not agree on what time it is.
	At    time.Time
	Words []byte // the engine's own, in which times are said as distances to At
	Mark  string // names Body: another body has another one. "" for no body
	Body  []byte // of the last answer; nil if it is the one that is kept under the same mark
}

// Package store is the contract between caddy-intents and the place where its
// intents live, and the errors of that contract. It touches no disk and no
// network: boltstore (the default, one file), redisstore (shared by several
// machines) and memstore (tests and demos) do, and all of them pass the one suite
// in storetest.
//
// # What a store holds
//
// An intent is an [intent.Intent] and its events. The store never interprets
// either: package intent decides what follows what, and the store sees to it that
// a change happens whole or not at all, on top of the state it was made from, and
// by the one who is entitled to make it.
//
// A record with Seq 0 is a reservation: written ahead of a POST whose outcome is
// unknown. The readers ([Reader]) do not see it. It becomes an intent by the first
// Append, or is dropped.
//
// # Durability
//
// A write that returned nil survives a crash of the process and a power cut, for
// stores that are durable at all. A write that returned an error may have happened
// or not; [ErrUnavailable] and [ErrFull] say that it did not and that trying again
// later makes sense.
//
// # Holding
//
// Only who holds an intent may change it. Holding is granted by Create, Adopt,
// Reserve, Claim and Take, each of which answers a [Held] with an epoch; every change names
// the epoch, and a change with an epoch that is not the latest fails with
// [ErrFenced]. So a holder that was cut off for a while cannot overwrite what its
// successor did. Where several processes share a store, holding ends with a lease
// and is kept by Renew; an embedded store has one process, grants everything until
// Release, and its leases never end.
//
// # Messages
//
// An event can name who else is to be told of it. The message for each is stored in
// the same step as the event and stays in the [Outbox], also longer than its intent,
// until whoever delivers it discards it.
//
// # Signals
//
// After a change has become durable every listener of every process hears
// [Appended]. A signal can be lost: whoever needs to see every event reads the store at
// least every [CheckInterval]. Embedded stores lose none. A store that knows that it may
// have lost some says [Missed]. What became durable in this process may come with the
// signal as [News], which spares the listener the read; without, it reads.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// CheckInterval is how often somebody who follows an intent has to look for
// events although no signal came. A store shared over a network may lose signals.
const CheckInterval = 15 * time.Second

// These can be returned by any method that is about one intent.
var (
	// ErrNotFound: there is no such intent (any more), or it is a reservation and
	// the caller a reader.
	ErrNotFound = errors.New("no such intent")
)

// These can be returned by methods that change an intent.
var (
	// ErrFenced: somebody else holds the intent now. Stop working on it.
	ErrFenced = errors.New("intent is held by somebody else")
	// ErrConflict: the events do not follow the last stored one.
	ErrConflict = errors.New("events do not follow the stored ones")
	// ErrEnded: the intent has its terminal event.
	ErrEnded = errors.New("intent has ended")
	// ErrExists: the id is taken, or the job, where one insists on being its first.
	ErrExists = errors.New("intent exists")
	// ErrMissing: a Telling refers to a body that is not kept.
	ErrMissing = errors.New("the body is not kept")
)

// These can be returned by every method. Nothing was written.
var (
	// ErrUnavailable: the store cannot be reached or is not open (any more).
	ErrUnavailable = errors.New("store is unavailable")
	// ErrFull: there is no room. Reads go on.
	ErrFull = errors.New("store is full")
)

// A PartlyError says that a call did what it could, and would have done more. It can be
// returned by Renew, of a store that is in several places of which one is away.
type PartlyError struct {
	Unknown []Lease // that nothing is known about
	Err     error   // why
}

func (e *PartlyError) Error() string {
	return fmt.Sprintf("%d of the leases: %v", len(e.Unknown), e.Err)
}

func (e *PartlyError) Unwrap() error { return e.Err }

// A Store keeps intents. All methods may be called by any number of goroutines.
// What they return is the caller's own; what they are given they do not keep.
type Store interface {
	Reader
	Writer
	Holder
	Signaler
	Outbox

	// Purge removes up to n ended intents that have expired at now, with all that
	// belongs to them, and tells how many it removed.
	Purge(ctx context.Context, now time.Time, n int) (int, error)

	// Now is the time by which all that is stored is dated. Where several machines share
	// the store it is their common one, whatever their clocks say.
	Now() time.Time

	// Close ends the store: what was accepted is written, every later call
	// answers ErrUnavailable. Closing twice does no harm.
	Close() error
}

// A Reader sees intents, not reservations.
type Reader interface {
	// Get returns the intent as of its last change.
	Get(ctx context.Context, id intent.ID) (intent.Intent, error)

	// Events returns the events with a seq above after, in order, without a gap,
	// and the intent as of the same moment. An intent that exists but has no such
	// events answers none, without an error.
	Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error)

	// ByKey returns the intent that was made under an idempotency key, as of its
	// last change, and what its submit is answered again. It is the one method that
	// shows a reservation: an intent of Seq 0, without an answer.
	ByKey(ctx context.Context, key string) (intent.Intent, Replay, error)

	// ByJob returns the latest intent of a job at the backend.
	ByJob(ctx context.Context, key JobKey) (intent.ID, error)

	// List returns one page of intents, youngest first.
	List(ctx context.Context, f Filter) (Page, error)
}

// A Writer makes and changes intents.
type Writer interface {
	// Reserve stores an intent of Seq 0, ahead of its POST, and grants it. If it has
	// a Key, of all that have the same one only one is stored: the others answer
	// ErrExists until that one is dropped or purged. Its id is of the shard that
	// ShardAt says, as it is for whatever has a Key.
	Reserve(ctx context.Context, in intent.Intent) (Held, error)

	// Create stores an intent with its first events in one step and grants it.
	Create(ctx context.Context, in intent.Intent, events []intent.Event) (Held, error)

	// Adopt is Create for a job that nobody submitted here: it insists that latest
	// is still what ByJob answers for the intent's job, or, if latest is zero, that
	// ByJob finds none. Else it stores nothing and answers ErrExists.
	Adopt(ctx context.Context, in intent.Intent, events []intent.Event, latest intent.ID) (Held, error)

	// Append stores a change of a held intent. It is idempotent: a change whose
	// events are stored already, unchanged, answers nil. With a terminal event
	// holding ends and the intent is kept until c.Intent.Expires.
	Append(ctx context.Context, c Change) error

	// Drop forgets a held reservation. An intent cannot be dropped: ErrConflict.
	Drop(ctx context.Context, id intent.ID, epoch int64) error
}

// A Change is what Append stores. Events may be empty: then only the intent's
// latest values and what polling remembers are stored.
type Change struct {
	Intent intent.Intent // as it stands after Events; of its Origin only Request is looked at, if it is Captured, and Scope and Job for messages
	Epoch  int64
	After  int64 // the seq that Events follow: that of the last stored event
	Events []intent.Event
	Replay *Replay // with the change that settles a reservation with a Key; else nil
}

// A Replay is what answers a request that repeats another one under the same
// idempotency key, kept as long as the intent is.
type Replay struct {
	Hash   []byte // of the request's body: the same key with another body is a mistake
	Code   int    // 0 if the answer is not known
	Header map[string][]string
	Body   []byte
	Merge  bool `json:",omitempty"` // the intent's id and URL are added to Body when it is sent
}

// A Holder hands out the right to work on an intent.
type Holder interface {
	// Term is how long a lease lasts, from before the call that granted or renewed it
	// was made; 0 for ever.
	Term() time.Duration

	// Claim grants up to n running intents and reservations that nobody holds.
	// An answer shorter than n means that there are no more for now. If jobs are
	// named, a store that several processes share grants intents of these only,
	// and any whose deadline is over: others may have the jobs that the caller
	// lacks, and if nobody has, somebody still has to end them.
	Claim(ctx context.Context, n int, of ...JobName) ([]Held, error)

	// Take grants one intent whoever holds it, who is thereby fenced. An ended
	// intent answers ErrEnded.
	Take(ctx context.Context, id intent.ID) (Held, error)

	// Renew extends the leases of what the caller holds and returns those that
	// it does not hold any more. If only some could be asked about, the error is a
	// [PartlyError].
	Renew(ctx context.Context, held []Lease) (lost []intent.ID, err error)

	// Release ends holding before the lease does; the intent can be claimed at once.
	Release(ctx context.Context, l Lease) error

	// Unheld counts the intents that could be claimed now, by job. Of a job that somebody
	// has they soon are, so what stays is of jobs that nobody has. A store that one
	// process has alone need not count: that one has claimed all there are.
	Unheld(ctx context.Context) (map[JobName]int, error)
}

// A JobName is the name of a job of the config within its scope.
type JobName struct{ Scope, Name string }

// A Lease is the right to work on an intent for a while, without the intent.
type Lease struct {
	ID    intent.ID
	Epoch int64
}

// A Held is an intent granted to the caller, as it stands.
type Held struct {
	Lease
	Until  time.Time // when the lease ends; zero for never
	Intent intent.Intent
}

// A Signaler carries doorbells.
type Signaler interface {
	// Watch tells whoever holds the intent that somebody follows it at least
	// until then. It is forgotten after that, and need not survive anything.
	Watch(ctx context.Context, id intent.ID, until time.Time) error

	// Listen calls f for every signal until stop is called, which waits for calls
	// of f under way. f must return at once and must not call the store.
	Listen(f func(Signal)) (stop func())
}

// A Signal says that something happened to an intent.
type Signal struct {
	ID   intent.ID
	Kind SignalKind

	Until time.Time // of Watched and Wanted
	News  *News     // of Appended: the new events, if the store has them at hand; else nil
}

// News is events that can be read from now on, in order and without a gap, at least one.
// Listeners share it: they may keep it, and change nothing in it.
type News struct {
	Generation int64 // of the intent
	Events     []Entry
}

// An Entry is an event as it is stored.
type Entry struct {
	Seq    int64
	Type   intent.EventType
	Status intent.Status
	JSON   []byte // of the intent.Event
}

// NewsOf returns the news that a change is, given what its events were stored as; nil
// if it has none.
func NewsOf(in *intent.Intent, events []intent.Event, encoded [][]byte) *News {
	if len(events) == 0 {
		return nil
	}
	n := &News{Generation: in.Generation, Events: make([]Entry, len(events))}
	for i := range events {
		n.Events[i] = Entry{Seq: events[i].Seq, Type: events[i].Type, Status: events[i].Status, JSON: encoded[i]}
	}
	return n
}

type SignalKind uint8

const (
	Appended SignalKind = iota + 1 // there are new events
	Watched                        // somebody follows the intent, until Until
	Missed                         // signals about any intent may have been lost until now; without ID

	Wanted // who holds the intent is to tell of its polls, until Until; see Teller
	Told   // something was told of its polls
	Voided // what was told of its polls is worthless
)

// A JobKey names a job at a backend: the index by which its intent is found.
type JobKey struct {
	Scope     string
	StatusURL string
}

// KeyOf returns the key of an intent that was delivered.
func KeyOf(in *intent.Intent) JobKey { return JobKey{Scope: in.Scope, StatusURL: in.StatusURL} }

// Stats is what a store keeps, for those that can tell.
type Stats struct {
	Running  int   `json:"running"`             // intents that have not ended, and reservations
	Ended    int   `json:"ended"`               // intents until they expire
	Messages int   `json:"messages"`            // that are to be delivered, or were given up
	Size     int64 `json:"size,omitempty"`      // of the file, in bytes; 0 if there is none
	Free     int64 `json:"free_size,omitempty"` // of that, what is used again before the file grows
}

// A Filter picks intents. Zero fields pick all.
type Filter struct {
	Scope  string
	Owners []string // any of these; found by an index, so that others' intents cost nothing
	Job    string
	Status intent.Status
	Before intent.ID // only intents after this one in a list; the Next of the page before
	Limit  int       // at most so many; 0 for 100

	Running bool      // only those that have not ended
	Made    time.Time // only those made before; younger ones cost nothing
	Moved   time.Time // only those that have not ended, and whose job did nothing new since then
	Waiting string    // only those that wait for this, or with Any for something
	Unknown string    // only those whose backend used this word last that the config does not map, or with Any some word
}

// Any stands in a Filter for whatever is not "".
const Any = "*"

// MaxLooked bounds the intents that a store looks at for one page: a filter that
// picks few of many must not cost more than that.
const MaxLooked = 4000

// A Page is a part of a list. It can be shorter than the limit, even empty, and
// still have a Next: MaxLooked were looked at.
type Page struct {
	Intents []intent.Intent
	Next    intent.ID // zero if there are no more
}

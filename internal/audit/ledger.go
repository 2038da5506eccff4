// Package audit holds what was promised against what happened. During a trial
// everybody writes into a ledger of their own what they saw: clients what they were
// told, observers what they received, the backend what it was asked; and in the end
// what the store holds. The auditor reads the ledgers, and nothing else: it knows no
// engine and asks no process, so that it cannot be wrong for the same reason as they.
//
// A ledger is a file of JSON lines that is only appended to, so that another process
// can read it after those who wrote it were killed.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// An Entry is one line of a ledger: what somebody saw, and when. Besides At one field
// is set.
type Entry struct {
	At     time.Time `json:"at"`
	Wish   *Wish     `json:"wish,omitempty"`
	Told   *Told     `json:"told,omitempty"`
	Read   *Read     `json:"read,omitempty"`
	Seen   *Seen     `json:"seen,omitempty"`
	Asked  *Asked    `json:"asked,omitempty"`
	Job    *Job      `json:"job,omitempty"`
	Stored *Stored   `json:"stored,omitempty"`
	Life   string    `json:"life,omitempty"` // "begins" or "ends": of the process that is tried
}

// A Wish is written by a client before it submits. Repeats of one are by the same
// client, with the same key.
type Wish struct {
	Client string `json:"client"`
	Key    string `json:"key,omitempty"`
	Again  bool   `json:"again,omitempty"` // it agrees to be sent more than once, where it is uncertain whether it arrived
	Queued bool   `json:"queued,omitempty"`
}

// A Word is what an answer meant for the one who asked.
type Word string

const (
	Accepted Word = "accepted" // here is your intent
	Refused  Word = "refused"  // nothing was sent, and nothing will be
	Passed   Word = "passed"   // the backend's answer, without an intent
	Unknown  Word = "unknown"  // no answer, or one that leaves open what became of it
	Canceled Word = "canceled" // the intent is canceled
	Unsent   Word = "unsent"   // it is canceled, and was never sent
)

// Told is what a client was told about what it asked for.
type Told struct {
	Client string `json:"client"`
	Word   Word   `json:"word"`
	Intent string `json:"intent,omitempty"`
	Code   int    `json:"code,omitempty"`
	Unkept bool   `json:"unkept,omitempty"` // it was told that nothing could be kept, so that a repeat is another submit
}

// Read is an intent as a client got it.
type Read struct {
	Intent string        `json:"intent"`
	Seq    int64         `json:"seq"`
	Status intent.Status `json:"status"`
}

// Seen is one event on the connection of an observer, which follows from a cursor over
// all its connections. An end without an event says that the observer was told that
// there is no more.
type Seen struct {
	Observer string        `json:"observer"`
	Intent   string        `json:"intent"`
	After    int64         `json:"after"` // what it had seen before its first connection
	Event    *intent.Event `json:"event,omitempty"`
	Damage   string        `json:"damage,omitempty"` // what it received instead of an event
}

// A Kind is what the backend was asked for.
type Kind string

const (
	Submits Kind = "submit"
	Polls   Kind = "poll"
	Cancels Kind = "cancel"
	Lookups Kind = "lookup"
)

// Asked is one request as the backend got it. Its At is when it came.
type Asked struct {
	Kind     Kind          `json:"kind"`
	Client   string        `json:"client,omitempty"` // of a submit
	Key      string        `json:"key,omitempty"`    // of a submit
	Job      string        `json:"job,omitempty"`    // the one that was made, or asked about
	Code     int           `json:"code,omitempty"`   // of the answer; 0 for none
	Answered time.Time     `json:"answered,omitzero"`
	After    time.Duration `json:"after,omitempty"` // the Retry-After of the answer
}

// A Job is what the backend knows of one in the end.
type Job struct {
	ID     string        `json:"id"`
	Client string        `json:"client"`
	Said   intent.Status `json:"said,omitempty"` // the end that the first answer told which told one; "" for none
	Lost   bool          `json:"lost,omitempty"` // the backend has forgotten it
}

// Stored is an intent as the store holds it in the end.
type Stored struct {
	Intent intent.Intent  `json:"intent"`
	Events []intent.Event `json:"events"`
}

// A Ledger is written by any number of goroutines.
type Ledger struct {
	mu      sync.Mutex
	out     io.Writer // nil: what is written is kept in memory
	entries []Entry
	err     error
}

// NewLedger returns a ledger that writes to out. With nil it keeps what is written.
func NewLedger(out io.Writer) *Ledger { return &Ledger{out: out} }

// Write adds a line, of this moment if it does not say of which.
func (l *Ledger) Write(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if l.out == nil {
		l.entries = append(l.entries, e)
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = l.out.Write(append(line, '\n'))
	}
	l.err = errors.Join(l.err, err)
}

// Err is what kept lines from being written.
func (l *Ledger) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Entries is what a ledger in memory has.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries
}

// ReadLedger returns the lines of a ledger. A last line that was cut off, because its
// writer was killed, does not count.
func ReadLedger(in io.Reader) ([]Entry, error) {
	var entries []Entry
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return entries, nil
		case err != nil:
			return entries, fmt.Errorf("reading a ledger: %w", err)
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return entries, fmt.Errorf("reading line %d of a ledger: %w", len(entries)+1, err)
		}
		entries = append(entries, e)
	}
}

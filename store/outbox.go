package store

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// An Outbox holds what is to be told to others than observers. A message gets there
// in the same step as its event: whoever is named in the event's Tell gets one. It
// outlives the intent, and stays until it is discarded.
type Outbox interface {
	// Collect grants up to n messages that are due at now, the longest due first, and
	// makes them due again at until: nobody else collects them before that.
	Collect(ctx context.Context, now, until time.Time, n int) ([]Message, error)

	// Keep stores what became of a message, which stays: Due, Attempts, Failure and
	// Dead. ErrNotFound says that it has been discarded.
	Keep(ctx context.Context, m Message) error

	// Discard removes a message. One that is not there is no error.
	Discard(ctx context.Context, id MessageID) error

	// Messages returns up to n messages in the order of their ids, those after one of
	// them; the zero id comes before all.
	Messages(ctx context.Context, after MessageID, n int) ([]Message, error)
}

// A Message is one event on its way to one recipient.
type Message struct {
	MessageID
	Scope    string       `json:"scope"` // of the intent
	Job      string       `json:"job"`
	Event    intent.Event `json:"event"`
	Due      time.Time    `json:"due"`      // when to try (again)
	Attempts int          `json:"attempts"` // so far
	Failure  string       `json:"failure,omitempty"`
	Dead     bool         `json:"dead,omitempty"` // given up: never due, until somebody says otherwise
}

// A MessageID names a message. Ids are ordered by intent, then seq, then recipient.
type MessageID struct {
	Intent intent.ID `json:"intent"`
	Seq    int64     `json:"seq"`
	To     string    `json:"to"` // as the event's Tell has it; opaque
}

// MessagesOf are the messages that the events of an intent make, due at once.
func MessagesOf(in *intent.Intent, events []intent.Event) []Message {
	var all []Message
	for _, e := range events {
		for _, to := range e.Tell {
			all = append(all, Message{
				MessageID: MessageID{Intent: in.ID, Seq: e.Seq, To: to},
				Scope:     in.Scope, Job: in.Job, Event: e, Due: e.At,
			})
		}
	}
	return all
}

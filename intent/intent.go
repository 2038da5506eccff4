package intent

import (
	"encoding/json"
	"time"
)

// An Intent is our durable record of one requested job. Its parts differ in when
// they are written: Origin once, Delivery once, Latest and Polling ever again.
type Intent struct {
	ID ID
	Origin
	Delivery
	Latest
	Polling
}

// Origin is what is known when the request arrives. It is frozen: a change of the
// config does not reach intents that exist.
type Origin struct {
	Scope    string    `json:"scope"`              // name of the handler; ids, jobs and owners live within it
	Job      string    `json:"job"`                // name of the job in the config
	Created  time.Time `json:"created"`            // when the request arrived
	Deadline time.Time `json:"deadline"`           // when the intent ends whatever the backend says
	Host     string    `json:"host,omitempty"`     // the submit's Host; polls carry it too
	Scheme   string    `json:"scheme,omitempty"`   // the submit's scheme, http or https
	Client   string    `json:"client,omitempty"`   // address of the submitter, without port
	Prefix   string    `json:"prefix,omitempty"`   // what was stripped from the path before us; put before URLs made for clients
	Request  []byte    `json:"request,omitempty"`  // the submit's body, kept only if an expression of the job reads it, or until it is delivered
	Captured bool      `json:"captured,omitempty"` // Request holds the whole body (which may be empty)
	Closed   bool      `json:"closed,omitempty"`   // Request is encrypted, if it is kept
	Owner    string    `json:"owner,omitempty"`    // whose it is, as a MAC; "" if it was made without owners
	Maker    string    `json:"maker,omitempty"`    // who had it made, as a MAC of their credentials that no other intent has; "" if that is not known
	Key      string    `json:"key,omitempty"`      // idempotency key of the submit, as a MAC; "" if there was none
	Cancels  bool      `json:"cancels,omitempty"`  // the submit asked for a cancel at the backend when the deadline passes

	Hook string `json:"hook,omitempty"` // whom the submit wants to be told of events, opaque; "" for nobody

	Envelope *Envelope `json:"envelope,omitempty"` // nil unless it was made under our own path
}

// An Envelope is what the request that made an intent said besides the job and its
// payload, in AXP's words. It is told as it was said.
type Envelope struct {
	CorrelationID string `json:"correlation_id,omitempty"`
	From          string `json:"from,omitempty"`
	To            string `json:"to,omitempty"`
	MaxAttempts   int    `json:"max_attempts,omitempty"` // tries to deliver; 0 for as many as fit into the time
}

// Delivery is what the backend's answer to the submit named. It is frozen too.
type Delivery struct {
	JobID     string            `json:"job_id,omitempty"`
	Params    map[string]string `json:"params,omitempty"`     // {params.<name>} of the job's templates
	StatusURL string            `json:"status_url,omitempty"` // where to poll: path and query, on the job's backend
}

// Latest is what is known now. It can be ahead of the last event: what the event
// budget skips is kept here and carried by the next event.
type Latest struct {
	Status       Status          `json:"status"`
	Seq          int64           `json:"seq"`                  // of the last event; 0 for a reservation
	Generation   int64           `json:"generation,omitempty"` // of the event log; raised when a store lost its tail
	Updated      time.Time       `json:"updated"`              // when the last event was made
	Progress     *float64        `json:"progress,omitempty"`
	Message      string          `json:"message,omitempty"`
	UnknownState string          `json:"unknown_state,omitempty"`
	Waiting      string          `json:"waiting,omitempty"`
	Moved        time.Time       `json:"moved,omitzero"` // when the backend last said something new of the job
	Result       json.RawMessage `json:"result,omitempty"`
	ResultURL    string          `json:"result_url,omitempty"`
	Error        *Error          `json:"error,omitempty"`
	Reports      int             `json:"reports,omitempty"`    // events so far that changed no status
	ReportedAt   time.Time       `json:"reported_at,omitzero"` // when the last of them was made
	Untold       bool            `json:"untold,omitempty"`     // something above is in no event yet
	Attempts     int             `json:"attempts,omitempty"`   // tries to deliver that were begun; 0 if the client's own request was the delivery
}

// Polling is what the engine remembers from one poll to the next.
type Polling struct {
	Due        time.Time     `json:"due,omitzero"`         // when to ask next
	Unreadable time.Duration `json:"unreadable,omitempty"` // how long answers have been unreadable; give_up bounds it
	Missing    time.Duration `json:"missing,omitempty"`    // how long the backend has not known the job; grace bounds it
	Cancel     Cancel        `json:"cancel,omitempty"`     // what is known of cancels sent to the backend
	Sealed     string        `json:"sealed,omitempty"`     // headers of the submit that polls carry, encrypted; gone with the end
	Memory     string        `json:"memory,omitempty"`     // the adapter's own, opaque to all others
	Expires    time.Time     `json:"expires,omitzero"`     // when retention removes an ended intent
	Outgoing   *Outgoing     `json:"outgoing,omitempty"`   // what the backend is still to get; nil once it has, and after the end
}

// An Outgoing is a submit that is delivered when the backend can take it. Its body is
// Origin.Request. It is not changed, but replaced.
type Outgoing struct {
	Head  string    `json:"head"`           // method, target and headers, encrypted
	Until time.Time `json:"until"`          // when it is given up; not after the deadline
	Sent  bool      `json:"sent,omitempty"` // a try was begun, and what became of it is not known
}

// A Cancel says what is known of cancels that were sent to the backend. It decides
// what a job is that then fails or is forgotten.
type Cancel string

const (
	CancelSent  Cancel = "sent"  // one of ours was refused, or not answered
	CancelTaken Cancel = "taken" // the backend accepted one
)

// EventID is the SSE id of the event with the given seq: the generation in the
// high part, so that ids of a log that lost its tail are never used twice.
func (in *Intent) EventID(seq int64) int64 { return in.Generation*SeqsPerGeneration + seq }

// SeqsPerGeneration is the factor between generations in an event id. It is above
// MaxEvents, so that a number below it is a seq and nothing else.
const SeqsPerGeneration = 1024

// Reserved reports whether in is written ahead of a POST whose outcome is not
// known yet. To everybody but the engine such an intent does not exist.
func (in *Intent) Reserved() bool { return in.Seq == 0 }

// ClientURL is path and query u as the client of this intent has to write it.
func (in *Intent) ClientURL(u string) string { return in.Prefix + u }

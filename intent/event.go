package intent

import (
	"bytes"
	"encoding/json"
	"time"
)

// An EventType names what happened, as it is seen in `event:` and `event_type`.
type EventType string

const (
	TypeCreated        EventType = "intent.created"
	TypeSubmitted      EventType = "intent.submitted"
	TypeDelivered      EventType = "intent.delivered"
	TypeInProgress     EventType = "intent.in_progress"
	TypeCompleted      EventType = "intent.completed"
	TypeFailed         EventType = "intent.failed"
	TypeCanceled       EventType = "intent.canceled"
	TypeTimedOut       EventType = "intent.timed_out"
	TypeDeliveryFailed EventType = "intent.delivery_failed" // an attempt to submit failed, another follows; the status stays
)

// EventTypes lists every type, in the order of an intent's life.
func EventTypes() []EventType {
	return []EventType{TypeCreated, TypeSubmitted, TypeDeliveryFailed, TypeDelivered, TypeInProgress, TypeCompleted, TypeFailed, TypeCanceled, TypeTimedOut}
}

// typeOf gives the event that announces a status.
var typeOf = map[Status]EventType{
	Created:    TypeCreated,
	Submitted:  TypeSubmitted,
	Delivered:  TypeDelivered,
	InProgress: TypeInProgress,
	Completed:  TypeCompleted,
	Failed:     TypeFailed,
	Canceled:   TypeCanceled,
	TimedOut:   TypeTimedOut,
}

// An Event is an immutable fact about one intent. Seq counts from 1 without gaps.
type Event struct {
	IntentID ID        `json:"intent_id"`
	Seq      int64     `json:"seq"`
	Type     EventType `json:"event_type"`
	Status   Status    `json:"status"`
	At       time.Time `json:"at"`
	Details  Details   `json:"details"`

	// Tell names who is told of the event besides observers; the store keeps a message
	// for each. It is no part of the event.
	Tell []string `json:"-"`
}

// AppendJSON appends the event as it is stored and as it is sent: in UTC, and without the
// escapes for HTML, which make `<` six bytes.
func (e Event) AppendJSON(dst []byte) ([]byte, error) {
	e.At = e.At.UTC()
	b := bytes.NewBuffer(dst)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(e)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Details is what an event tells beyond its status. A field that was not learnt
// is left out.
type Details struct {
	JobID        string          `json:"job_id,omitempty"`
	Attempt      int             `json:"attempt,omitempty"`       // which try to submit this is about, from 1
	Progress     *float64        `json:"progress,omitempty"`      // percent, 0 to 100
	Message      string          `json:"message,omitempty"`       // at most MaxMessage bytes
	UnknownState string          `json:"unknown_state,omitempty"` // the backend's word that the config does not map
	Result       json.RawMessage `json:"result,omitempty"`        // at most MaxResult bytes
	ResultURL    string          `json:"result_url,omitempty"`
	Error        *Error          `json:"error,omitempty"`
	RetryAt      *time.Time      `json:"retry_at,omitempty"`
	Backend      string          `json:"backend,omitempty"` // what the backend said to a cancel
	Waiting      string          `json:"waiting,omitempty"` // why nothing moves
}

// Sizes that bound what one event can carry, in bytes as a frame has them, escapes
// included; a frame on the wire stays below 32 KiB with all of them in it.
const (
	MaxMessage = 1 << 10
	MaxError   = 2 << 10
	MaxResult  = 24 << 10
	MaxURL     = 2 << 10 // a longer one is not told: half a URL is none
)

// An Error says why an intent did not complete.
type Error struct {
	Code      string   `json:"code"`
	Message   string   `json:"message"`
	Category  Category `json:"category"`
	Retryable bool     `json:"retryable"` // whether submitting the same request again may help
}

// A Category says whose error it is.
type Category string

const (
	ByBackend  Category = "backend"  // the backend said that the job failed
	ByProtocol Category = "protocol" // the backend answered what could not be understood
	ByDeadline Category = "deadline" // time ran out
	ByClient   Category = "client"   // a client or an operator ended it
	ByGateway  Category = "gateway"  // caddy-intents could not keep track of it
)

// Codes of errors that are not the backend's own.
const (
	CodeJobFailed       = "job_failed"        // the backend's word, without a code of its own
	CodeDeadline        = "deadline_exceeded" // the intent's deadline passed
	CodeJobLost         = "job_lost"          // the backend no longer knows the job
	CodeUnreadable      = "unreadable"        // its answers could not be read for all of give_up
	CodeSubmitUncertain = "submit_uncertain"  // whether the backend has the request cannot be known
	CodeRefused         = "refused"           // the backend did not take the request
	CodeNoJob           = "no_job"            // it took the request, and its answer names no job
	CodeOperator        = "ended_by_operator" // an operator said that it is over
	CodeCanceled        = "canceled"          // a client canceled it
	CodeUndelivered     = "delivery_failed"   // it could not take the request for all of its time in the queue
)

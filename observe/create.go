package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Creator starts jobs for requests that are about an intent, not about the job's own
// URL. It answers them.
type Creator interface {
	Create(w http.ResponseWriter, r *http.Request, c Creation) error
}

// A Creation is what a client wants done.
type Creation struct {
	Job      string          // its name
	Payload  json.RawMessage // an object: the body that the backend gets
	Within   time.Duration   // the deadline; 0 leaves it to the job
	Envelope intent.Envelope
	Body     []byte // the whole request: what a repeat has to have the same of
}

// Bounds of a create request, beside the payload's own.
const (
	maxEnvelope = 64 << 10
	maxAgent    = 383
)

// serveCreate starts a job as AXP does it: the job by its name, the backend's body as
// the payload. It is stored before it is answered, and then delivered.
func (s *Server) serveCreate(w http.ResponseWriter, r *http.Request, _ string) (*stream, error) {
	switch {
	case s.Creator == nil:
		return nil, MethodNotAllowed("GET, HEAD")
	case s.Tokens != nil && len(viewerOf(r.Context()).Owners) == 0:
		return nil, Unauthorized()
	}
	body, err := readJSON(r, s.MaxBody+maxEnvelope)
	if err != nil {
		return nil, err
	}
	c, err := readCreation(body, s.AXP, time.Now())
	if err != nil {
		return nil, err
	}
	return nil, s.Creator.Create(w, r, c)
}

// Created answers a request that made an intent, in AXP's words.
func (s *Server) Created(w http.ResponseWriter, r *http.Request, in *intent.Intent) {
	// The intent is stored: there is nobody to tell of a failure.
	_ = writeJSON(w, r, http.StatusOK, struct {
		OK         bool          `json:"ok"`
		IntentID   intent.ID     `json:"intent_id"`
		Status     intent.Status `json:"status"`
		CreatedAt  time.Time     `json:"created_at"`
		ObserveURL string        `json:"observe_url"`
	}{true, in.ID, in.Status, in.Created.UTC(), s.observeURL(r, in)})
}

// creationWords are a create request.
type creationWords struct {
	IntentType    string          `json:"intent_type"`
	Payload       json.RawMessage `json:"payload"`
	CorrelationID string          `json:"correlation_id"`
	From          string          `json:"from_agent"`
	To            string          `json:"to_agent"`
	DeadlineAt    *time.Time      `json:"deadline_at"`
	TTL           *int64          `json:"ttl_seconds"`
	MaxAttempts   *int            `json:"max_delivery_attempts"`
}

// readCreation reads a create request. Fields that we know nothing about are left
// alone: AXP has more than concerns a job.
func readCreation(body []byte, axp *AXP, now time.Time) (c Creation, err error) {
	var said creationWords
	if err := axp.readWords(body, &said); err != nil {
		return c, BadRequest("the body must be a JSON object with intent_type and payload: " + jsonMistake(err))
	}
	c = Creation{Job: said.IntentType, Payload: said.Payload, Body: body,
		Envelope: intent.Envelope{CorrelationID: said.CorrelationID, From: said.From, To: said.To}}
	if c.Payload == nil || string(c.Payload) == "null" {
		c.Payload = json.RawMessage("{}")
	}
	switch {
	case c.Job == "":
		return c, unprocessable("intent_type", "is missing: write the name of a job")
	case c.Payload[0] != '{':
		return c, unprocessable("payload", "must be an object: it is the body that the backend gets")
	case len(said.From) > maxAgent || len(said.To) > maxAgent:
		return c, unprocessable("to_agent", fmt.Sprintf("and from_agent are at most %d bytes", maxAgent))
	}
	if c.Envelope.CorrelationID == "" {
		c.Envelope.CorrelationID = intent.NewID(now, 0).String() // any UUID will do
	} else if _, err := intent.ParseID(strings.ToLower(c.Envelope.CorrelationID)); err != nil {
		return c, unprocessable("correlation_id", "must be a UUID")
	}
	if said.MaxAttempts != nil {
		if c.Envelope.MaxAttempts = *said.MaxAttempts; c.Envelope.MaxAttempts < 1 {
			return c, unprocessable("max_delivery_attempts", "must be 1 or more")
		}
	}
	c.Within, err = within(said.DeadlineAt, said.TTL, now)
	return c, err
}

// within is the time that is left until the earlier of both.
func within(at *time.Time, ttl *int64, now time.Time) (time.Duration, error) {
	var d time.Duration
	if at != nil {
		if d = at.Sub(now); d <= 0 {
			return 0, unprocessable("deadline_at", "is in the past")
		}
	}
	if ttl != nil {
		if *ttl < 1 {
			return 0, unprocessable("ttl_seconds", "must be 1 or more")
		}
		left := time.Duration(min(*ttl, int64(maxTTL/time.Second))) * time.Second
		if d == 0 || left < d {
			d = left
		}
	}
	return d, nil
}

// maxTTL is longer than any job's deadline makes sense, and short enough to count in.
const maxTTL = 10 * 365 * 24 * time.Hour

// jsonMistake says what is wrong with a JSON text without quoting it.
func jsonMistake(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return "the type of " + e.Field + " is wrong: " + e.Value
	} else if ok {
		return "it is of another type: " + e.Value
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); !ok { // all else is by the only time in it
		return "deadline_at is not a time; write it as 2030-01-31T12:00:00Z"
	}
	return "it is not valid JSON"
}

func unprocessable(field, message string) *Problem {
	return &Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_" + field, Message: field + " " + message}
}

// readJSON reads a body of JSON. Nothing else is taken: a page of another site can
// make a browser send a form, and no preflight would ask.
func readJSON(r *http.Request, most int64) ([]byte, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &Problem{Status: http.StatusUnsupportedMediaType, Code: "not_json", Message: "the body must be application/json"}
	}
	if r.ContentLength > most { // before a client that expects 100 sends it
		return nil, TooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case int64(len(body)) > most:
		return nil, TooLarge()
	case err != nil:
		return nil, BadRequest("the body broke off")
	}
	return body, nil
}

// TooLarge is the answer to a request whose body may not be kept.
func TooLarge() *Problem {
	return &Problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "the body is too large"}
}

package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A view is an intent as a client sees it: AXP's fields, the status under both
// names that AXP's clients read, and what we know beyond.
type view struct {
	IntentID        intent.ID       `json:"intent_id"`
	Status          intent.Status   `json:"status"`
	LifecycleStatus intent.Status   `json:"lifecycle_status"`
	IntentType      string          `json:"intent_type"` // the job, in AXP's words
	Job             string          `json:"job"`
	JobID           string          `json:"job_id,omitempty"`
	CreatedAt       time.Time       `json:"created_at"`
	UpdatedAt       time.Time       `json:"updated_at"`
	DeadlineAt      time.Time       `json:"deadline_at,omitzero"`
	Progress        *float64        `json:"progress,omitempty"`
	Message         string          `json:"message,omitempty"`
	UnknownState    string          `json:"unknown_state,omitempty"`
	Waiting         string          `json:"waiting,omitempty"`
	LifecycleWaits  string          `json:"lifecycle_waiting_reason,omitempty"` // the same, for AXP's CLI
	Result          json.RawMessage `json:"result,omitempty"`
	ResultURL       string          `json:"result_url,omitempty"`
	Error           *intent.Error   `json:"error,omitempty"`
	LastPolledAt    time.Time       `json:"last_polled_at,omitzero"`
	NextPollAt      time.Time       `json:"next_poll_at,omitzero"`
	PollFailures    int             `json:"poll_failures"` // in a row
	FailingSince    time.Time       `json:"failing_since,omitzero"`
	DownSince       time.Time       `json:"backend_down_since,omitzero"`
	UnchangedSince  time.Time       `json:"unchanged_since,omitzero"` // what the backend says of the job
	LastSeq         int64           `json:"last_seq"`
	Attempts        int             `json:"delivery_attempt,omitempty"` // tries to deliver a queued submit
	ObserveURL      string          `json:"observe_url"`
	*envelope                       // nil unless it was made under our path
}

// An envelope is what the request said that made the intent.
type envelope struct {
	CorrelationID string          `json:"correlation_id"`
	From          string          `json:"from_agent"`
	To            string          `json:"to_agent"`
	Payload       json.RawMessage `json:"payload,omitempty"`
	MaxAttempts   int             `json:"max_delivery_attempts,omitempty"`
}

// view renders an intent for the client of a request. Of an ended intent nothing
// is told about polling: there is none. What waits for a backend that is down says so,
// although no poll of its own may have found that out.
func (s *Server) view(r *http.Request, in *intent.Intent) view {
	v := view{
		IntentID: in.ID, Status: in.Status, LifecycleStatus: in.Status,
		IntentType: in.Job, Job: in.Job, JobID: in.JobID,
		CreatedAt: in.Created.UTC(), UpdatedAt: in.Updated.UTC(), DeadlineAt: in.Deadline.UTC(),
		Progress: in.Progress, Message: in.Message, UnknownState: in.UnknownState, Waiting: in.Waiting, LifecycleWaits: in.Waiting,
		Result: in.Result, ResultURL: in.ResultURL, Error: in.Error,
		LastSeq: in.Seq, Attempts: in.Attempts, ObserveURL: s.observeURL(r, in),
	}
	if e := in.Envelope; e != nil {
		v.envelope = &envelope{CorrelationID: e.CorrelationID, From: e.From, To: e.To, Payload: s.payload(in), MaxAttempts: e.MaxAttempts}
	}
	if in.Status.Terminal() {
		return v
	}
	v.UnchangedSince = in.Moved.UTC()
	if s.Pacing != nil {
		p := s.Pacing.Pace(in.ID)
		v.LastPolledAt, v.NextPollAt = p.Last.UTC(), p.Next.UTC()
		v.PollFailures, v.FailingSince, v.DownSince = p.Failures, p.Failing.UTC(), p.DownSince.UTC()
		if !p.DownSince.IsZero() {
			v.Waiting = cmp.Or(v.Waiting, "backend")
		}
	}
	return v
}

// payload is the body that an intent was made from, as it came. One that cannot be opened
// any more is not told.
func (s *Server) payload(in *intent.Intent) json.RawMessage {
	if !in.Closed {
		return in.Request
	}
	if s.OpenBody == nil {
		return nil
	}
	body, err := s.OpenBody(in)
	if err != nil {
		return nil
	}
	return body
}

// intentURL and streamURL are the URLs of an intent as a client has to write
// them, for whom prefix comes before every path we see.
func (s *Server) intentURL(prefix string, id intent.ID) string {
	return prefix + s.Path + "/" + id.String()
}

func (s *Server) streamURL(prefix string, id intent.ID) string {
	return s.intentURL(prefix, id) + "/events/stream"
}

type prefixKey struct{}

// WithPrefix returns the context of a request from whose path prefix was stripped
// before it reached us.
func WithPrefix(ctx context.Context, prefix string) context.Context {
	return context.WithValue(ctx, prefixKey{}, prefix)
}

// Prefix is what WithPrefix was given; "" if nothing.
func Prefix(ctx context.Context) string {
	prefix, _ := ctx.Value(prefixKey{}).(string)
	return prefix
}

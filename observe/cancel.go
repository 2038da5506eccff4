package observe

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Canceler cancels intents, at the backend first. Its errors are of type
// *Problem; the intent is as it then stands.
type Canceler interface {
	Cancel(ctx context.Context, id intent.ID, reason string, requester http.Header) (intent.Intent, error)
}

// Over is the answer to a cancel of an intent that has ended, or whose job has.
func Over() *Problem {
	return &Problem{Status: http.StatusConflict, Code: "already_over", Message: "there is nothing to cancel any more"}
}

// NotCanceled is the answer to a cancel that the backend refused or did not answer.
func NotCanceled() *Problem {
	return &Problem{Status: http.StatusBadGateway, Code: "not_canceled", Message: "the backend did not cancel the job; the intent goes on"}
}

// serveCancel cancels the intent.
func (s *Server) serveCancel(w http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	in, err := s.find(r.Context(), text)
	if err != nil {
		return nil, err
	}
	if in, err = s.cancel(r, in.ID, ""); err != nil {
		return nil, err
	}
	return nil, s.writeIntent(w, r, http.StatusOK, &in)
}

func (s *Server) cancel(r *http.Request, id intent.ID, reason string) (intent.Intent, error) {
	return s.Canceler.Cancel(r.Context(), id, reason, requesterHeader(r.Header))
}

// notForwarded are the headers of a cancel that are about this request and not
// about who sends it.
var notForwarded = []string{
	"Accept", "Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Keep-Alive", "Prefer",
	"Proxy-Authorization", "Proxy-Connection", "Range", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
}

// requesterHeader is what a backend may need to know who asks.
func requesterHeader(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range notForwarded {
		h.Del(name)
	}
	return h
}

// A resolution is the body of a resolve.
type resolution struct {
	Status intent.Status `json:"status"`
	Reason string        `json:"reason"`
}

// maxWish bounds the body of a request that is not a submit, in bytes.
const maxWish = 64 << 10

// serveResolve is AXP's way to cancel. How a job ends otherwise is the backend's to
// say, and nobody else's.
func (s *Server) serveResolve(w http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	var wish resolution
	if err := readWish(r, &wish, "status and reason"); err != nil {
		return nil, err
	}
	in, err := s.find(r.Context(), text)
	if err != nil {
		return nil, err
	}
	switch wish.Status {
	case intent.Canceled:
	case intent.Completed, intent.Failed:
		return nil, &Problem{Status: http.StatusConflict, Code: "polled_job",
			Message: "how this job ends is read from its backend; only CANCELED can be asked for"}
	default:
		return nil, BadRequest("status must be CANCELED")
	}
	if in, err = s.cancel(r, in.ID, wish.Reason); err != nil {
		return nil, err
	}
	_, events, err := s.Store.Events(r.Context(), in.ID, in.Seq-1)
	if err != nil {
		return nil, err
	}
	answer := struct {
		OK       bool           `json:"ok"`
		Intent   view           `json:"intent"`
		Event    *intent.Event  `json:"event,omitempty"`
		Delivery map[string]any `json:"completion_delivery"`
	}{OK: true, Intent: s.view(r, &in), Delivery: map[string]any{"delivered": false}}
	if len(events) > 0 {
		answer.Event = &events[0]
	}
	return nil, writeJSON(w, r, http.StatusOK, answer)
}

// readWish reads the body into what wish points at, an object with these members.
func readWish(r *http.Request, wish any, members string) error {
	body, err := readJSON(r, maxWish)
	if err == nil && json.Unmarshal(body, wish) != nil {
		err = BadRequest("the body must be a JSON object with " + members)
	}
	return err
}

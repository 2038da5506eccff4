package observe

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/store"
)

// A Problem is an error answer of the intent API: problem details (RFC 9457) with
// AXP's `ok` and `error` beside them. It is an error, and a handler that writes
// itself. Every error that we, and not the backend, give to a client is made here.
type Problem struct {
	Status     int            // of the answer, 400 to 599
	Code       string         // for programs
	Message    string         // for people
	Details    map[string]any // more for programs, if there is more
	Allow      string         // methods, with 405
	Challenge  string         // for WWW-Authenticate, with 401
	RetryAfter time.Duration  // rounded up to seconds; 0 for no such header
}

// How long a client should wait before it tries again.
const (
	retryDraining    = time.Second // another process is or will be there
	retryUnavailable = 5 * time.Second
	retryCrowded     = 10 * time.Second
	retryElsewhere   = 3 * time.Second // a balancer may choose another process
)

func (p *Problem) Error() string { return p.Message }

// NotFound is the one answer for ids that are unknown, malformed, or of somebody
// else: whoever guesses learns nothing from the difference.
func NotFound() *Problem {
	return &Problem{Status: http.StatusNotFound, Code: "not_found", Message: "no such intent"}
}

// Unavailable is the answer while the store cannot be used.
func Unavailable() *Problem {
	return &Problem{
		Status: http.StatusServiceUnavailable, Code: "unavailable", RetryAfter: retryUnavailable,
		Message: "intents cannot be served right now",
	}
}

// Unauthorized is the answer to a request from nobody, where every intent has an
// owner. Which way to authenticate there is only the site's config knows; a client
// has to be given a challenge, and this one makes no browser ask for a password.
func Unauthorized() *Problem {
	return &Problem{
		Status: http.StatusUnauthorized, Code: "unauthorized", Challenge: "Bearer",
		Message: "intents are shown to their owner only",
	}
}

// BadRequest is the answer to a request that is wrong in itself.
func BadRequest(message string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: "invalid_request", Message: message}
}

// MethodNotAllowed is the answer to a known URL asked with a method it has not.
func MethodNotAllowed(allow string) *Problem {
	return &Problem{
		Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Allow: allow,
		Message: "this URL has no such method",
	}
}

// problemOf says what to tell a client about an error: itself if it is a Problem,
// what a store or hub error means, and for everything else no more than that
// something went wrong.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return NotFound()
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable()
	case errors.Is(err, ErrDraining):
		return &Problem{
			Status: http.StatusServiceUnavailable, Code: "draining", RetryAfter: retryDraining,
			Message: "this server is shutting down",
		}
	case errors.Is(err, ErrCrowded):
		return &Problem{
			Status: http.StatusServiceUnavailable, Code: "too_many_observers", RetryAfter: retryCrowded,
			Message: "as many streams are open as this server allows",
		}
	case errors.Is(err, errOwnerCrowded):
		return crowdedBy("you have as many streams open as one owner may have")
	case errors.Is(err, errIntentCrowded):
		return crowdedBy("as many streams of this intent are open as are allowed")
	}
	return &Problem{Status: http.StatusInternalServerError, Code: "internal", Message: "something went wrong"}
}

// crowdedBy is the answer to who has enough streams while others may have more.
func crowdedBy(message string) *Problem {
	return &Problem{Status: http.StatusTooManyRequests, Code: "too_many_observers", RetryAfter: retryCrowded, Message: message}
}

// ServeHTTP writes the problem as the answer. An EventSource gives up for good on
// whatever is no stream; one that says what it is gets, instead of being told to
// try again later, a stream that says no more than that.
func (p *Problem) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.RetryAfter > 0 && r.Method == http.MethodGet && saysEventSource(r) {
		writeHead(w, false)
		_, _ = w.Write(sse.AppendRetry(nil, jitter(p.RetryAfter, 0.5)))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.Allow != "" {
		h.Set("Allow", p.Allow)
	}
	if p.Challenge != "" {
		h.Set("WWW-Authenticate", p.Challenge)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		// Else the server reads what is left of the body before it answers, also of a client
		// that waits for the word to send it.
		h.Set("Connection", "close")
	}
	_ = writeJSON(w, r, p.Status, p) // a problem is always JSON
}

// ServeStream writes the problem where only a stream was asked for, at a URL of the
// backend's: there a client cannot say by a parameter that it is an EventSource, and is
// known by its head. It has a stream begin, says when to come back, and cuts it, so that
// whoever else has such a head does not take it for the end.
func (p *Problem) ServeStream(w http.ResponseWriter, r *http.Request) {
	if p.RetryAfter == 0 || !likeEventSource(r.Header) {
		p.ServeHTTP(w, r)
		return
	}
	cutBegun(w, p.RetryAfter)
}

// cutBegun has a stream begin, says when to come back, and cuts it.
func cutBegun(w http.ResponseWriter, retry time.Duration) {
	writeHead(w, false)
	_, _ = w.Write(sse.AppendRetry(nil, jitter(retry, 0.5)))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// likeEventSource reports whether a head has what the standard has an EventSource send:
// the one type, and no-cache, which no fetch sends by itself. Sec-Fetch-* say no more,
// and browsers send them to trustworthy origins only.
func likeEventSource(h http.Header) bool {
	return strings.Join(h["Accept"], ",") == sse.ContentType && slices.Contains(h["Cache-Control"], "no-cache")
}

// MarshalJSON gives the shape on the wire. The type is about:blank, for which RFC
// 9457 makes the title that of the status; what a program looks at is error.code.
func (p *Problem) MarshalJSON() ([]byte, error) {
	type failure struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	}
	details := p.Details
	if details == nil {
		details = map[string]any{}
	}
	return json.Marshal(struct {
		OK     bool    `json:"ok"`
		Type   string  `json:"type"`
		Title  string  `json:"title"`
		Status int     `json:"status"`
		Detail string  `json:"detail"`
		Error  failure `json:"error"`
	}{
		Type: "about:blank", Title: http.StatusText(p.Status), Status: p.Status, Detail: p.Message,
		Error: failure{Code: p.Code, Message: p.Message, Details: details},
	})
}

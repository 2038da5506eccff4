package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// An attempt is what came of sending.
type attempt struct {
	taken      bool
	answered   bool // or was not asked: its host is not to blame
	gone       bool // the receiver wants no more
	failure    string
	retryAfter time.Duration
}

// maxRetryAfter bounds what a receiver can ask for.
const maxRetryAfter = time.Hour

// send sends a message once. That an answer was a refusal, or that there was none, is no
// error here: the attempt says so.
func (s *Sender) send(ctx context.Context, m *store.Message, target Target) attempt {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	body, err := bodyOf(m)
	if err != nil {
		return attempt{answered: true, gone: true, failure: err.Error()}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL, strings.NewReader(string(body)))
	if err != nil {
		return attempt{answered: true, gone: true, failure: "its URL cannot be used"}
	}
	id, now := IDOf(m.MessageID), time.Now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "caddy-intents")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("Webhook-Signature", target.Secret.sign(id, now, body))
	resp, err := s.ways[target.AllowPrivate].RoundTrip(r) // a redirect is an answer like any other
	if err != nil {
		return attempt{failure: why(err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // for the connection's sake
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return attempt{answered: true, taken: true}
	case resp.StatusCode == http.StatusGone: // so Standard Webhooks: no more of them
		return attempt{answered: true, gone: true, failure: "it answered 410: it wants no more"}
	}
	a := attempt{answered: true, failure: fmt.Sprintf("it answered %d", resp.StatusCode)}
	a.retryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return a
}

// retryAfter reads a wish, in seconds or as a date (RFC 9110, section 10.2.3); 0 for none.
func retryAfter(said string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(said, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(said); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// why says why there was no answer, without the URL, which may hold a secret.
func why(err error) string {
	switch {
	case errors.Is(err, ErrPrivate):
		return ErrPrivate.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer within " + sendTimeout.String()
	}
	return "it could not be reached"
}

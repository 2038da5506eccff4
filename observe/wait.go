package observe

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// maxWait bounds how long an answer is held back.
const maxWait = 60 * time.Second

// PreferredWait returns for how long a request asks to hold the answer back
// (RFC 7240, section 4.3), 60 seconds at most; 0 if it does not ask, or not in
// whole seconds. Of several preferences for the same thing the first counts.
func PreferredWait(h http.Header) time.Duration {
	for _, line := range h.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 32)
			if err != nil {
				return 0
			}
			return min(time.Duration(n)*time.Second, maxWait)
		}
	}
	return 0
}

// WaitApplied says in the head of an answer that a wait was honoured.
func WaitApplied(h http.Header, d time.Duration) {
	h.Set("Preference-Applied", "wait="+strconv.Itoa(int(d/time.Second)))
}

// Await waits for the end of an intent, for d at most, and returns it as it then
// stands. An error says that nobody could wait, or why the intent could not be read
// any more; the intent is then as it was.
func (s *Server) Await(ctx context.Context, in intent.Intent, d time.Duration) (intent.Intent, error) {
	if in.Status.Terminal() {
		return in, nil
	}
	p, err := s.Hub.join([]intent.ID{in.ID}, in.Owner, s.Limits)
	if err != nil {
		return in, err
	}
	defer s.Hub.leave(p)
	over := time.NewTimer(d)
	defer over.Stop()
	check := time.NewTicker(store.CheckInterval)
	defer check.Stop()
	for {
		s.Hub.watch(ctx, in.ID, time.Now())
		now, err := s.Store.Get(ctx, in.ID)
		if err != nil {
			return in, err
		}
		if in = now; in.Status.Terminal() {
			return in, nil
		}
		select {
		case <-p.bell:
			s.Hub.answer(p.seats[0], place{}) // the whole intent is read, whatever was rung for
		case <-check.C:
		case <-over.C:
			return in, nil
		case <-p.drained.Done():
			return in, nil
		case <-ctx.Done():
			return in, ctx.Err()
		}
	}
}

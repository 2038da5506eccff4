package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// A story is what the terminal shows: one report, from its order to its end.
type story struct {
	out     io.Writer
	place   place
	service *reportService
}

// storyteller is the client whose requests the story counts.
const storyteller = "quickstart"

// An accepted is the answer to an order: what the report service said, and what
// the plugin added to it.
type accepted struct {
	JobID      string `json:"job_id"`
	IntentID   string `json:"intent_id"`
	ObserveURL string `json:"observe_url"`
}

func (s story) tell(ctx context.Context) error {
	s.printf("A report service that answers 202 and is polled: http://%s\n", s.place.backend)
	s.printf("Caddy with the intents plugin in front of it:  %s\n\n", s.place.site)

	order, err := s.order(ctx)
	if err != nil {
		return fmt.Errorf("ordering a report: %w", err)
	}
	s.printf("intent %s\n", order.IntentID)
	if err := s.watch(ctx, order); err != nil {
		return fmt.Errorf("watching intent %s: %w", order.IntentID, err)
	}
	got := s.service.counted(storyteller)
	s.printf("\nThe client sent 2 requests, the POST and one for the stream. The service got %d POST and\n"+
		"%d polls from Caddy, and gets no more of them if a thousand clients watch.\n", got.Submits, got.Polls)
	s.goOn(order)
	return nil
}

// order posts as a client always did, and prints the exchange.
func (s story) order(ctx context.Context) (accepted, error) {
	var a accepted
	const body = `{"report":"sales"}`
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.place.site+"/reports/generate", strings.NewReader(body))
	if err != nil {
		return a, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Client", storyteller)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	s.printf("POST /reports/generate  %s\n%s\n%s\n\n", body, resp.Status, strings.TrimSpace(string(answer)))
	if resp.StatusCode != http.StatusAccepted {
		return a, errors.New("it was not accepted")
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, err
	}
	if a.IntentID == "" || a.ObserveURL == "" {
		return a, errors.New("the answer names no intent")
	}
	return a, nil
}

// watch prints each event as it comes, to the last one.
func (s story) watch(ctx context.Context, order accepted) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.place.site+order.ObserveURL, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", sse.ContentType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the stream was answered with %s", resp.Status)
	}
	var begin time.Time
	for frames := sse.NewReader(resp.Body); ; {
		frame, err := frames.Next()
		if err != nil {
			return err
		}
		var event intent.Event
		if err := json.Unmarshal([]byte(frame.Data), &event); err != nil {
			return fmt.Errorf("reading event %s: %w", frame.ID, err)
		}
		if begin.IsZero() {
			begin = event.At
		}
		s.printf("%s\n", line(event, begin))
		if event.Status.Terminal() {
			return nil
		}
	}
}

// line puts what an event tells in one line.
func line(e intent.Event, begin time.Time) string {
	words := []string{fmt.Sprintf("%6.1f s  %-11s", e.At.Sub(begin).Seconds(), e.Status)}
	d := e.Details
	switch {
	case e.Status == intent.InProgress && d.Progress != nil:
		words = append(words, fmt.Sprintf("%3.0f %%", *d.Progress))
	case e.Status == intent.Delivered:
		words = append(words, "job "+d.JobID)
	}
	switch {
	case d.Error != nil:
		words = append(words, d.Error.Message)
	case d.ResultURL != "":
		words = append(words, d.ResultURL)
	case d.Result != nil:
		words = append(words, string(d.Result))
	case d.Message != "":
		words = append(words, d.Message)
	}
	return strings.TrimRight(strings.Join(words, "  "), " ")
}

// goOn prints what to try next.
func (s story) goOn(order accepted) {
	s.printf(`
All of it stays up. Watch this one again, from its first event:

  curl -N %[1]s%[2]s

Order another one and watch it (sales; yearly takes longer, forecast fails):

  curl -N %[1]s$(curl -s -d '{"report":"yearly"}' %[1]s/reports/generate | grep -o '/v1/intents/[^"]*')

See the old way and the new one side by side, with the requests of each:

  %[1]s/

Now with your own API:

  go run ./cmd/caddy intents proxy --from :8080 --to localhost:8000 \
    --submit "POST /reports/generate" --status "/reports/status/{job_id}"

What Caddy inferred about the API is in %[3]s. Ctrl-C ends it all.
`, s.place.site, order.ObserveURL, s.place.log)
}

func (s story) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

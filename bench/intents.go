package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// The scope and the job of all intents that are made without a Caddy.
const (
	scope = "default"
	job   = "report"
)

// runningIntent is an intent as it is after its first reading, with its events.
func runningIntent(created time.Time, number int) (intent.Intent, []intent.Event) {
	in := intent.Intent{
		ID: intent.NewID(created, store.ShardAt("", created)),
		Origin: intent.Origin{
			Scope: scope, Job: job, Created: created, Deadline: created.Add(30 * 24 * time.Hour),
			Host: "api.example.com", Scheme: "https", Client: "192.0.2.7",
		},
		Polling: intent.Polling{Due: created.Add(time.Second)},
	}
	id := fmt.Sprintf("job-%d", number)
	in, events := in.Begin(created)
	in, more := in.Deliver(intent.Delivery{JobID: id, StatusURL: statusPath + id}, created)
	events = append(events, more...)
	in, more = in.Apply(intent.Reading{Status: intent.InProgress, Progress: new(float64(10)), Message: "reading rows"}, created)
	return in, append(events, more...)
}

// settings is a config with the one job, polled through t.
func settings(t engine.Transport, pace engine.Pace, inFlight int, rate float64) (*engine.Generation, error) {
	compiled, err := adapter.Compile(adapter.Spec{
		Submit: adapter.Route{Method: http.MethodPost, Path: submitPath},
		Status: &adapter.Endpoint{Target: statusPath + "{job_id}"},
	}, adapter.Options{})
	if err != nil {
		return nil, err
	}
	name := engine.JobName{Scope: scope, Name: job}
	return &engine.Generation{
		Jobs: map[engine.JobName]*engine.Job{name: {
			JobName:  name,
			Adapter:  compiled,
			Backend:  &engine.Backend{Name: scope, Transport: t, InFlight: inFlight, Rate: rate},
			Pace:     pace,
			Deadline: 24 * time.Hour,
			Respond:  engine.RespondMerge,
		}},
		Retention: engine.DefaultRetention,
		Logger:    slog.New(slog.DiscardHandler),
	}, nil
}

// A chatter answers each poll at once, and always with something new to store
// unless it is mute.
type chatter struct {
	mute  bool
	asked atomic.Int64
}

func (c *chatter) Send(w http.ResponseWriter, _ *http.Request) error {
	n := c.asked.Add(1)
	if c.mute {
		n = 0
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, err := io.WriteString(w, fmt.Sprintf(`{"status":"running","percent":10,"step":"row %d"}`, n))
	return err
}

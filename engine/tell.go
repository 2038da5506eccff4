package engine

import (
	"context"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A Teller says who else than observers is to be told of an event, in words that only
// whoever delivers the messages understands.
type Teller interface {
	Tell(in *intent.Intent, t intent.EventType) []string
}

// A tellingStore names the recipients in every event on its way into the store, so that
// the messages are stored with the event whatever part of the engine has made it.
type tellingStore struct {
	store.Store
	engine *Engine
}

// name takes the intent as a copy that only a job with a Teller needs on the heap.
func (s tellingStore) name(in intent.Intent, events []intent.Event) {
	job := s.engine.settings.Load().Jobs[JobName{Scope: in.Scope, Name: in.Job}]
	if job == nil || job.Teller == nil {
		return
	}
	told := in
	for i := range events {
		events[i].Tell = job.Teller.Tell(&told, events[i].Type)
	}
}

func (s tellingStore) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	s.name(in, events)
	return s.Store.Create(ctx, in, events)
}

func (s tellingStore) Adopt(ctx context.Context, in intent.Intent, events []intent.Event, latest intent.ID) (store.Held, error) {
	s.name(in, events)
	return s.Store.Adopt(ctx, in, events, latest)
}

func (s tellingStore) Append(ctx context.Context, c store.Change) error {
	s.name(c.Intent, c.Events)
	return s.Store.Append(ctx, c)
}

// Job returns what the current settings say of a job, nil if they do not have it.
func (e *Engine) Job(n JobName) *Job { return e.settings.Load().Jobs[n] }

package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/offload"
	"github.com/caddy-intents/caddy-intents/store"
)

// servers answer requests about intents out of one open store.
type servers struct {
	parts     *parts
	observer  *observe.Server
	offloader *offload.Server
}

// serversOf returns this handler's servers for the store as it is open now. A stream
// outlives the config that it was opened under, and its server with it, but not the
// handler.
func (h *Handler) serversOf(p *parts) *servers {
	for {
		current := h.servers.Load()
		if current != nil && current.parts == p {
			return current
		}
		made := &servers{parts: p, observer: h.newObserver(p)}
		made.offloader = h.newOffloader(p, made.observer)
		h.servers.CompareAndSwap(current, made)
	}
}

func (h *Handler) observer(p *parts) *observe.Server { return h.serversOf(p).observer }

func (h *Handler) newObserver(p *parts) *observe.Server {
	config := observe.Config{
		Scope:     h.Name,
		Path:      h.Path,
		Heartbeat: time.Duration(h.Heartbeat),
		AXP:       h.axp,
		Limits:    observe.Limits{All: h.Limits.Observers, PerOwner: h.Limits.PerOwner, PerIntent: h.Limits.PerIntent},
		Store:     p.metered,
		Hub:       p.hub,
		Backend:   giver{h},
		Pacing:    pacing{p.engine},
		Canceler:  canceler{p.engine, h.Owner == ""},
		Creator:   creator{h, p},
		MaxBody:   h.Limits.Body,
		OpenBody:  p.engine.OpenBody,
		Logger:    h.logger,
		Ended:     counted.streamsOf(h.Name),
		Found:     about,
	}
	if h.Owner != "" {
		config.Tokens = h.app.keys
	}
	if p.store.Term() == 0 {
		config.Alone = h.alone(p.store)
	}
	return observe.New(config)
}

// alone is what a store that nobody shares says of intents that are not in it. They are
// nowhere if they were made before it was begun, or so long ago that they may be over and
// removed.
func (h *Handler) alone(s store.Store) *observe.Alone {
	a := &observe.Alone{Kept: time.Duration(h.app.Retention)}
	if begun, ok := s.(interface{ Since() time.Time }); ok {
		a.Since = begun.Since()
	}
	for _, job := range h.jobs {
		a.Kept = max(a.Kept, job.Deadline)
	}
	return a
}

// pacing tells observers what the engine knows.
type pacing struct{ engine *engine.Engine }

func (p pacing) Pace(id intent.ID) observe.Pace {
	polled, _ := p.engine.Polling(id)
	return observe.Pace(polled)
}

func (p pacing) Await(ctx context.Context, id intent.ID) { p.engine.AwaitPolling(ctx, id) }

// canceler lets observers cancel through the engine. Where an id is all it takes to
// read an intent, it is the backend that decides who may cancel: it is asked with the
// requester's own headers. An owner cancels as we poll.
type canceler struct {
	engine  *engine.Engine
	forward bool
}

func (c canceler) Cancel(ctx context.Context, id intent.ID, reason string, requester http.Header) (intent.Intent, error) {
	if !c.forward {
		requester = nil
	}
	in, err := c.engine.Cancel(ctx, id, engine.Cancellation{Reason: reason, Header: requester})
	switch {
	case errors.Is(err, engine.ErrOver):
		return in, observe.Over()
	case errors.Is(err, engine.ErrNotCanceled):
		return in, observe.NotCanceled()
	}
	return in, err
}

func (h *Handler) newOffloader(p *parts, observer *observe.Server) *offload.Server {
	config := offload.Config{
		Scope: h.Name, Engine: p.engine, Store: p.metered, Observer: observer, Admissions: p.admissions, Keys: h.app.keys, Logger: h.logger,
		Saved: counted.savedOf(h.Name), Found: about,
	}
	for i, job := range h.jobs {
		rule := h.Jobs[i].OwnURLs.over(h.OwnURLs)
		stale, _ := rule.stale() // was checked
		config.Jobs = append(config.Jobs, offload.Job{Job: job, Off: rule.Offload == "off", Stale: stale, NoAdopt: rule.Adopt == "off"})
	}
	return offload.New(config)
}

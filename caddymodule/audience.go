package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

func init() {
	caddy.RegisterModule(EventOrigin{})
}

// An audience is the handlers that one config has for events.
type audience struct {
	ctx    caddy.Context // of the origin
	events *caddyevents.App
	cancel context.CancelFunc
}

// EventOrigin is what events of intents come from: who subscribes to those of the
// modules `intents` or `intents.events` gets them. It has no config.
type EventOrigin struct{ ctx caddy.Context }

// CaddyModule returns the Caddy module information.
func (EventOrigin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "intents.events", New: func() caddy.Module { return new(EventOrigin) }}
}

// Provision keeps the context in which events are emitted.
func (o *EventOrigin) Provision(ctx caddy.Context) error {
	o.ctx = ctx
	return nil
}

// gatherAudience prepares that the handlers of this config are told of intents.
func (a *App) gatherAudience(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	// Caddy reads the origin of an event from the end of a list that contexts share:
	// what other modules are loaded after us overwrites it. The list of a new context
	// is its own.
	own, cancel := caddy.NewContext(ctx)
	origin, err := own.LoadModuleByID("intents.events", nil)
	if err != nil {
		cancel()
		return err
	}
	a.audience = &audience{ctx: origin.(*EventOrigin).ctx, events: app.(*caddyevents.App), cancel: cancel}
	return a.audience.events.On("started", startListener{a})
}

// dismissAudience has them told of nothing more.
func (a *App) dismissAudience() {
	if a.audience != nil {
		a.installation.audience.CompareAndSwap(a.audience, nil)
		a.audience.cancel()
	}
}

// startListener makes a config the one whose handlers are called, when Caddy says that
// it has started: before that its handlers are still being put in place.
type startListener struct{ app *App }

// Handle implements caddyevents.Handler.
func (l startListener) Handle(context.Context, caddy.Event) error {
	l.app.installation.audience.Store(l.app.audience)
	return nil
}

var (
	_ caddy.Provisioner   = (*EventOrigin)(nil)
	_ caddyevents.Handler = startListener{}
)

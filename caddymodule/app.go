package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/internal/keyring"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is where intents live: the store, and how long it keeps them. It needs no
// config: without any, intents are kept in the file "intents/intents.db" in
// Caddy's data directory for 24 hours after their end.
type App struct {
	// The store. Default: `bolt`, one file in Caddy's data directory. `memory`
	// forgets everything when Caddy stops, and is for tests and demos. `redis` is shared by
	// several Caddys.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=intents.stores inline_key=store"`

	// How long an ended intent can be read and observed. Default: 24h.
	Retention caddy.Duration `json:"retention,omitempty"`

	// What owners, tokens, idempotency keys and copied headers are protected with: 32
	// bytes or more, for example {file./run/secrets/intents}. A second one is the secret
	// before, while it is being replaced. Several Caddys with one store need the same.
	// Default: one that is made once and kept in Caddy's storage.
	Secret []string `json:"secret,omitempty"`

	secrets      [][]byte
	storage      certmagic.Storage
	started      chan struct{}    // closed by Start
	keys         *keyring.Keyring // once started
	opener       StoreOpener
	address      string // in the pool; "" if there is no reference to drop
	installation *installation
	jobs         map[engine.JobName]*registeredJob
	logger       *slog.Logger
	retire       func()
	audience     *audience
}

// registeredJob is a job that a handler of this config has, with what it says.
type registeredJob struct {
	job    *engine.Job
	meant  []byte // the compiled JSON, backend included: what makes two jobs the same
	origin string // the handler that has it, for errors
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "intents", New: func() caddy.Module { return new(App) }}
}

// Provision loads the store module. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Slogger()
	a.jobs = make(map[engine.JobName]*registeredJob)
	a.started = make(chan struct{})
	if a.Retention == 0 {
		a.Retention = caddy.Duration(engine.DefaultRetention)
	}
	a.storage = ctx.Storage()
	var err error
	if a.secrets, err = resolveSecrets(a.Secret); err != nil {
		return err
	}
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"store":"bolt"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.opener = mod.(StoreOpener)
	if shared, ok := a.opener.(sharedStore); ok && len(a.secrets) == 0 {
		return fmt.Errorf("secret: missing; %s: write `secret {file./run/secrets/intents}` on each, with 32 bytes or more", shared.NeedsSecret())
	}
	address := a.opener.Address()
	shared, _, err := installations.LoadOrNew(address, newInstallation)
	if err != nil {
		return err
	}
	a.address = address
	a.installation = shared.(*installation)
	if err := a.gatherAudience(ctx); err != nil {
		return err
	}
	if err := counted.register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	return registerOnce(ctx.GetMetricsRegistry(), census{a.installation})
}

// Validate checks what Provision filled in.
func (a *App) Validate() error {
	if a.Retention < 0 {
		return fmt.Errorf("retention: %s is negative; write how long ended intents are kept, for example 24h", time.Duration(a.Retention))
	}
	return nil
}

// register adds a handler's job. The same job may come from several handlers, as
// it does if an http and an https site import one snippet.
func (a *App) register(r *registeredJob) error {
	name := r.job.JobName
	other, ok := a.jobs[name]
	if !ok {
		a.jobs[name] = r
		return nil
	}
	if string(other.meant) != string(r.meant) {
		return fmt.Errorf("job %q is configured twice with different meaning, in %s and in %s: give one handler another `name`, or the jobs different names",
			name.Name, other.origin, r.origin)
	}
	return nil
}

// Start opens the store, unless an earlier config has, and applies the settings.
func (a *App) Start() error {
	var err error
	if a.keys, err = a.makeKeys(); err != nil {
		return err
	}
	generation := &engine.Generation{
		Jobs:      make(map[engine.JobName]*engine.Job, len(a.jobs)),
		Retention: time.Duration(a.Retention),
		Sealer:    a.keys,
		Logger:    a.logger,
	}
	for name, r := range maps.All(a.jobs) {
		generation.Jobs[name] = r.job
		counted.of(name)
	}
	a.retire = a.installation.use(a.opener, generation)
	close(a.started)
	return nil
}

// keyring is what this config seals with; it is there when a request is.
func (a *App) keyring() *keyring.Keyring {
	<-a.started
	return a.keys
}

// await returns the open installation, or nil if there is none (yet). The http app
// may serve before this one has started, at a reload too: then there is a store, but
// there are no keys. That is waited for.
func (a *App) await(ctx context.Context) *parts {
	if p := a.open(); p != nil { // also for a client that has left already
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, awaitStart)
	defer cancel()
	select {
	case <-a.started:
		return a.installation.await(ctx)
	case <-ctx.Done():
		return nil
	}
}

// open returns the open installation if this config has started and the store is
// there, nil otherwise: for requests that are not to wait for either.
func (a *App) open() *parts {
	select {
	case <-a.started:
		return a.installation.parts.Load()
	default:
		return nil
	}
}

// Stop does nothing: requests in flight need the settings until the http app has
// stopped, and Caddy stops apps in any order.
func (a *App) Stop() error { return nil }

// Cleanup takes the settings back and drops the reference to the installation. Polls
// and streams go on if another config uses the same store; the last reference ends it.
func (a *App) Cleanup() error {
	if a.retire != nil {
		a.retire()
	}
	a.dismissAudience()
	if a.address == "" {
		return nil
	}
	_, err := installations.Delete(a.address)
	return err
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/offload"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/webhook"
)

// installations keeps what outlives a config: one installation for each store.
// The key is the store's address and nothing else, since a second one on the same
// file would wait for the first one's lock.
var installations = caddy.NewUsagePool()

// An installation is a store with the engine and the hub that work on it. It is
// made unopened: `caddy validate` provisions configs beside a running server.
type installation struct {
	tried chan struct{} // closed when opening was tried for the first time
	parts atomic.Pointer[parts]
	log   atomic.Pointer[slog.Logger] // of the current config

	audience atomic.Pointer[audience] // of the last config that has started; nil for none
	tracers  tracers

	mu      sync.Mutex
	begun   bool
	serving []*serving         // applied settings, in order
	stop    context.CancelFunc // ends keep
	loops   sync.WaitGroup     // keep
}

// parts is an installation that is open.
type parts struct {
	store      store.Store // as it was opened
	metered    store.Store // the same, for all who work on it
	engine     *engine.Engine
	hub        *observe.Hub
	admissions *offload.Admissions
	sender     *webhook.Sender
	emitter    *emitter
	deaf       func()          // ends the sender's listening
	closing    context.Context // done when all of it is about to end
	end        context.CancelFunc
}

// A breakable store tells when it can do nothing any more and has to be opened anew.
// Others come back by themselves.
type breakable interface{ Down() <-chan struct{} }

// serving is one config's settings, applied or waiting for the store to open.
type serving struct {
	generation *engine.Generation
	retire     func() // nil as long as there is no engine
}

// openRetry is the pause between two tries to open a store; awaitStart is how long
// a request waits for the first.
const (
	openRetry  = 5 * time.Second
	awaitStart = 5 * time.Second
)

// These are causes of streams that end.
var (
	errExiting = errors.New("caddy is exiting")
	errReopen  = errors.New("the store broke down and is opened anew")
)

func newInstallation() (caddy.Destructor, error) {
	return &installation{tried: make(chan struct{})}, nil
}

// use applies a config's settings; the first one opens the store. A store that
// cannot be opened fails no config: requests pass through without intents until
// it can, and it is tried again and again.
func (i *installation) use(s StoreOpener, g *engine.Generation) (retire func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.log.Store(g.Logger)
	sv := &serving{generation: g}
	i.serving = append(i.serving, sv)
	switch p := i.parts.Load(); {
	case p != nil:
		sv.retire = p.engine.Use(g)
	case !i.begun:
		i.begun = true
		i.begin(s, newFollower(&i.log))
	}
	return func() { i.retire(sv) }
}

// begin opens the store for the first time and leaves what follows to keep. The
// caller holds i.mu.
func (i *installation) begin(s StoreOpener, log *slog.Logger) {
	defer close(i.tried)
	if opened := try(s, log); opened != nil {
		i.opened(opened, log)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.stop = cancel
	i.loops.Go(func() { i.keep(ctx, s, log) })
}

// try opens the store, or says why it cannot be and returns nil.
func try(s StoreOpener, log *slog.Logger) store.Store {
	opened, err := s.Open(log)
	if err != nil {
		log.Error("opening the store; requests pass through without intents until it can be opened",
			"store", s.Address(), "err", err, "do", "look at what err says; it is tried again every "+openRetry.String())
		return nil
	}
	return opened
}

// keep sees to it that there is an open store: it tries again to open one that could
// not be opened, and treats one that broke down as a restart of Caddy would. Destruct
// ends it.
func (i *installation) keep(ctx context.Context, s StoreOpener, log *slog.Logger) {
	tried := time.Now()
	for {
		if p := i.parts.Load(); p != nil {
			if !breaksDown(ctx, p.store) {
				return
			}
			i.takeDown(p, log)
		}
		// A store that broke down is opened at once, but not again and again.
		if !pause(ctx, time.Until(tried.Add(openRetry))) {
			return
		}
		tried = time.Now()
		opened := try(s, log)
		if opened == nil {
			continue
		}
		log.Info("the store is open", "store", s.Address())
		i.mu.Lock()
		i.opened(opened, log)
		i.mu.Unlock()
	}
}

// breaksDown waits until the store has broken down, or returns false because ctx has
// ended.
func breaksDown(ctx context.Context, s store.Store) bool {
	var down <-chan struct{}
	if b, ok := s.(breakable); ok {
		down = b.Down()
	}
	select {
	case <-down:
		return true
	case <-ctx.Done():
		return false
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeDown ends what works on a store that broke down. Requests pass through from
// now on; observers come back as after a restart.
func (i *installation) takeDown(p *parts, log *slog.Logger) {
	i.mu.Lock()
	i.parts.Store(nil)
	for _, sv := range i.serving {
		sv.retire = nil // the engine is gone
	}
	i.mu.Unlock()
	p.hub.Drain(errReopen)
	if err := p.close(); err != nil {
		log.Warn("closing the store that broke down", "err", err)
	}
}

// close ends streams, then polls, then messages and events, then the store.
func (p *parts) close() error {
	p.end()
	p.hub.Close()
	p.engine.Stop()
	p.deaf()
	p.sender.Stop()
	p.emitter.Stop()
	return p.store.Close()
}

// newParts puts a store together with those who work on it.
func (i *installation) newParts(s store.Store, log *slog.Logger) *parts {
	p := &parts{store: s, hub: observe.NewHub(s, log), admissions: offload.NewAdmissions(), emitter: newEmitter(&i.audience, log, counted.dropped)}
	p.closing, p.end = context.WithCancel(context.Background())
	p.metered = meteredStore{s, counted, func(in *intent.Intent, events []intent.Event) {
		counted.stored(in, events)
		p.emitter.announce(in, events)
	}}
	p.engine = engine.New(p.metered)
	p.engine.Measure(counted)
	if shared, ok := s.(store.Teller); ok && s.Term() > 0 {
		p.engine.Confer(meteredTeller{shared, p.metered.(meteredStore)})
	}
	return p
}

// opened puts a store to work. The caller holds i.mu.
func (i *installation) opened(s store.Store, log *slog.Logger) {
	p := i.newParts(s, log)
	p.engine.OnAnswer(p.hub.Ring)
	for _, sv := range i.serving {
		sv.retire = p.engine.Use(sv.generation)
	}
	p.sender = webhook.New(webhook.Config{
		Outbox: p.metered,
		Sent:   counted.delivered,
		Lookup: func(m *store.Message) (webhook.Target, error) { return lookUp(p.engine, m) },
		Logger: i.log.Load,
	})
	p.deaf = s.Listen(func(sig store.Signal) {
		if sig.Kind == store.Appended {
			p.sender.Wake()
		}
	})
	p.engine.Start()
	p.sender.Start()
	p.emitter.Start()
	i.parts.Store(p)
}

func (i *installation) retire(sv *serving) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, s := range i.serving {
		if s == sv {
			i.serving = append(i.serving[:n:n], i.serving[n+1:]...)
			break
		}
	}
	if len(i.serving) > 0 { // a reload that failed: the config before it is the current one
		i.log.Store(i.serving[len(i.serving)-1].generation.Logger)
	}
	if sv.retire != nil {
		sv.retire()
	}
}

// await returns the open installation, or nil if there is none (yet). The http app
// may serve before the intents app has started: that is waited for.
func (i *installation) await(ctx context.Context) *parts {
	if p := i.parts.Load(); p != nil {
		return p
	}
	timer := time.NewTimer(awaitStart)
	defer timer.Stop()
	select {
	case <-i.tried:
	case <-ctx.Done():
	case <-timer.C:
	}
	return i.parts.Load()
}

// drain ends all streams, because the process is about to.
func (i *installation) drain() {
	if p := i.parts.Load(); p != nil {
		p.hub.Drain(errExiting)
	}
}

// Destruct ends the installation when the last config that uses it is gone.
func (i *installation) Destruct() error {
	i.mu.Lock()
	stop := i.stop
	i.mu.Unlock()
	if stop != nil {
		stop()
	}
	i.loops.Wait()
	p := i.parts.Load()
	if p == nil {
		return nil
	}
	if err := p.close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

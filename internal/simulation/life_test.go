package simulation_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// A life is one process: an engine and those who observe, from its start until it is
// stopped or killed.
type life struct {
	world  *world
	engine *engine.Engine
	hub    *observe.Hub
	server *observe.Server
	store  *faulty

	ctx  context.Context // ends with the life
	kill context.CancelFunc
	dead atomic.Bool // nothing that it does is seen any more

	mu     sync.Mutex
	jobs   map[string]*engine.Job // by the kind that clients ask for; what is not in the config is not here
	retire func()
}

// begin starts a process on what a store holds.
func (w *world) begin(s *memstore.Store) *life {
	l := &life{world: w, store: &faulty{Store: s, plan: &w.plan, begun: w.begun}}
	l.ctx, l.kill = context.WithCancel(context.Background())
	l.engine = engine.New(l.store)
	l.hub = observe.NewHub(l.store, slog.New(slog.DiscardHandler))
	l.server = observe.New(observe.Config{Scope: "default", Store: l.store, Hub: l.hub})
	l.use(w.settings)
	l.engine.Start()
	return l
}

// adapters are compiled once: a schedule takes a few milliseconds, and that two.
var adapters = sync.OnceValue(func() *adapter.Job {
	job, err := adapter.Compile(adapter.Spec{
		Submit: adapter.Route{Method: "POST", Path: "/reports/generate"},
		Status: &adapter.Endpoint{Target: "/reports/status/{job_id}"},
		Cancel: &adapter.Endpoint{Target: "/reports/status/{job_id}"},
		Lookup: &adapter.Lookup{Endpoint: adapter.Endpoint{Target: "/reports/by-key?key={idempotency_key}"}, JobID: "body.jobs[0].job_id"},
	}, adapter.Options{})
	if err != nil {
		panic(err)
	}
	return job
})

// use applies settings, as a config reload does.
func (l *life) use(s reloadPlan) {
	g := &engine.Generation{
		Jobs: make(map[engine.JobName]*engine.Job), Retention: engine.DefaultRetention, Sealer: plainly{}, Logger: l.world.logger,
	}
	mine := make(map[string]*engine.Job)
	backend := &engine.Backend{Name: "default", Transport: l, InFlight: l.world.plan.inFlight, Rate: 10_000}
	for _, kind := range jobs {
		if kind == s.without {
			continue
		}
		job := l.job(kind, s.interval)
		if job.Backend = backend; kind == s.renamed {
			job.Name += "-renamed"
		}
		mine[kind] = job
		g.Jobs[job.JobName] = job
	}
	retire := l.engine.Use(g)
	l.mu.Lock()
	l.jobs, l.retire, retire = mine, retire, l.retire
	l.mu.Unlock()
	if retire != nil {
		retire()
	}
}

func (l *life) job(kind string, interval time.Duration) *engine.Job {
	job := &engine.Job{
		JobName: engine.JobName{Scope: "default", Name: kind}, Adapter: adapters(), Pace: engine.DefaultPace,
		Deadline: deadline, Respond: engine.RespondMerge, MaxBody: 1 << 20,
	}
	job.Pace.Interval, job.Pace.Chance = interval, l.world.roll
	job.Pace.GiveUp, job.Pace.Grace = time.Minute, 10*time.Second
	switch kind {
	case "intent":
		job.Respond = engine.RespondIntent
		job.CancelAtDeadline = true
	case "fail", "resubmit", "lookup":
		job.Queue = &engine.Queue{For: 2 * time.Minute, Max: 3, OnUncertain: engine.Uncertain(kind)}
	}
	return job
}

// roll decides what the engine leaves to chance, by the moment alone: it must not
// matter who asks first.
func (w *world) roll() float64 {
	return rand.New(rand.NewPCG(w.plan.seed, uint64(time.Since(w.begun)))).Float64()
}

// asked is the job that clients reach now; nil if there is none.
func (l *life) asked(kind string) *engine.Job {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.jobs[kind]
}

// Send is the method of [engine.Transport]: what the process sends and hears while it
// lives.
func (l *life) Send(w http.ResponseWriter, r *http.Request) error {
	if l.dead.Load() {
		return errReset
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	heard := &answer{header: make(http.Header)}
	err := l.world.backend.Send(heard, r.WithContext(ctx))
	if l.dead.Load() {
		return errReset
	}
	if heard.code != 0 {
		maps.Copy(w.Header(), heard.header)
		w.WriteHeader(heard.code)
		_, _ = w.Write(heard.body.Bytes())
	}
	return err
}

// An answer is what the backend has written.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// stop ends the process in an orderly way: what is under way may finish, for a while.
func (l *life) stop() {
	l.hub.Drain(observe.ErrDraining)
	l.engine.Stop()
	l.crash()
}

// crash ends it at once. What it still does, nobody sees.
func (l *life) crash() {
	l.dead.Store(true)
	l.kill()
}

// bury waits until nothing of it is left.
func (l *life) bury() {
	l.engine.Stop()
	l.hub.Close()
}

// plainly seals nothing, and checks that it is opened for what it was sealed for.
type plainly struct{}

func (plainly) Seal(id [16]byte, field string, value []byte) []byte {
	return slices.Concat(id[:], []byte(field), value)
}

func (plainly) Open(id [16]byte, field string, sealed []byte) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), string(id[:])+field)
	if !ok {
		return nil, intent.ErrBadID
	}
	return []byte(plain), nil
}

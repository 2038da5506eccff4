package simulation_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// A world is one schedule while it is played.
type world struct {
	t       *testing.T
	plan    plan
	begun   time.Time
	ledger  *audit.Ledger
	backend *backend
	logger  *slog.Logger
	clients sync.WaitGroup
	actors  sync.WaitGroup // all others
	buried  sync.WaitGroup
	over    chan struct{} // closed when nobody needs to watch any more

	mu       sync.Mutex
	settings reloadPlan
	life     *life // nil while there is none
	store    *memstore.Store
}

// terms are what the auditor has to know of the settings. An end that is due is stored
// when the store takes it, and a last poll may take its time.
var terms = audit.Terms{Interval: interval, Slack: time.Minute}

// play plays a schedule and returns what everybody saw.
func play(t *testing.T, p plan, logger *slog.Logger) (entries []audit.Entry) {
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, p.seed)
		w := &world{
			t: t, plan: p, begun: time.Now(), ledger: audit.NewLedger(nil), logger: logger,
			store: memstore.New(), settings: reloadPlan{interval: interval}, over: make(chan struct{}),
		}
		w.backend = newBackend(&w.plan, w.ledger)
		w.life = w.begin(w.store)
		w.run()
		entries = w.ledger.Entries()
	})
	return entries
}

func (w *world) run() {
	for n := range w.plan.clients {
		w.clients.Go(func() { w.client(n) })
	}
	w.actors.Go(w.restartAll)
	w.actors.Go(w.reloadAll)
	w.until(w.plan.horizon)
	w.clients.Wait() // whoever has its answer late has its intent late
	<-time.After(deadline + terms.Slack + 30*time.Second)
	close(w.over)
	w.actors.Wait()
	w.end(false)
	w.buried.Wait()
	w.backend.testify()
	w.takeStock()
}

// until waits for a moment of the schedule.
func (w *world) until(at time.Duration) { <-time.After(at - time.Since(w.begun)) }

// now is the process that there is; nil if there is none.
func (w *world) now() *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.life
}

func (w *world) restartAll() {
	slices.SortFunc(w.plan.restarts, func(a, b restartPlan) int { return cmp.Compare(a.at, b.at) })
	for _, r := range w.plan.restarts {
		w.until(r.at)
		w.end(r.crash)
		<-time.After(r.down)
		w.mu.Lock()
		w.life = w.begin(w.store)
		w.mu.Unlock()
		w.ledger.Write(audit.Entry{Life: "begins"})
	}
}

// end ends the process that there is.
func (w *world) end(crash bool) {
	l := w.now()
	if !crash {
		l.stop()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.crash()
	w.ledger.Write(audit.Entry{Life: "ends"})
	w.store, w.life = w.store.Reopen(), nil
	w.buried.Go(l.bury)
}

func (w *world) reloadAll() {
	slices.SortFunc(w.plan.reloads, func(a, b reloadPlan) int { return cmp.Compare(a.at, b.at) })
	for _, r := range w.plan.reloads {
		w.until(r.at)
		w.reload(r)
	}
	w.until(w.plan.horizon)
	w.reload(reloadPlan{interval: interval})
}

func (w *world) reload(s reloadPlan) {
	w.mu.Lock()
	w.settings = s
	l := w.life
	w.mu.Unlock()
	if l != nil {
		l.use(s)
	}
}

// takeStock writes into the ledger what the store holds.
func (w *world) takeStock() {
	page, err := w.store.List(w.t.Context(), store.Filter{Limit: 1000})
	require.NoError(w.t, err)
	for _, in := range page.Intents {
		in, events, err := w.store.Events(w.t.Context(), in.ID, 0)
		require.NoError(w.t, err)
		w.ledger.Write(audit.Entry{Stored: &audit.Stored{Intent: in, Events: events}})
	}
}

// shard is the part of an id that no seed decides.
var shard = regexp.MustCompile(`\b([0-9a-f]{8}-)[0-9a-f]{2}([0-9a-f]{2}-8[0-9a-f]{3}-)`)

// history is everything that happened, in an order that does not depend on who was
// first at one instant.
func history(entries []audit.Entry) []string {
	lines := make([]string, len(entries))
	for i, e := range entries {
		text, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		lines[i] = fmt.Sprintf("%s %s", e.At.Format("15:04:05.000000000"), shard.ReplaceAll(text, []byte("$1..$2")))
	}
	slices.Sort(lines)
	return lines
}

func hash(entries []audit.Entry) string {
	sum := sha256.Sum256([]byte(strings.Join(history(entries), "\n")))
	return hex.EncodeToString(sum[:])
}

package boltstore

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func pathIn(dir string) string { return filepath.Join(dir, "data", "intents.db") }

// openIn opens the store in dir; the test closes it at its end.
func openIn(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(pathIn(dir), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// begun is an intent with its first events, stored nowhere yet.
func begun() (intent.Intent, []intent.Event) {
	in := intent.Intent{ID: intent.NewID(noon, 0), Origin: intent.Origin{
		Scope: "default", Job: "report", Created: noon, Deadline: noon.Add(24 * time.Hour),
	}}
	in, events := in.Begin(noon)
	in, named := in.Deliver(intent.Delivery{StatusURL: "/status/" + in.ID.String()}, noon)
	return in, append(events, named...)
}

func add(t testing.TB, s *Store) store.Held {
	t.Helper()
	in, events := begun()
	held, err := s.Create(t.Context(), in, events)
	require.NoError(t, err)
	return held
}

// reported is the change that a reading of so many percent makes.
func reported(held store.Held, percent float64) store.Change {
	in, events := held.Intent.Apply(intent.Reading{Status: intent.InProgress, Progress: &percent}, held.Intent.Updated.Add(time.Minute))
	return store.Change{Intent: in, Epoch: held.Epoch, After: held.Intent.Seq, Events: events}
}

// end stores the end of an intent, which may be removed a day later.
func end(t testing.TB, s *Store, held store.Held) {
	t.Helper()
	in, events := held.Intent.End(intent.TimedOut, intent.Details{}, noon.Add(time.Hour))
	in.Expires = noon.AddDate(0, 0, 1)
	require.NoError(t, s.Append(t.Context(), store.Change{Intent: in, Epoch: held.Epoch, After: held.Intent.Seq, Events: events}))
}

// group has calls made at a time when the committer is busy, in their order, so
// that they become one group. It returns what they answered and how many
// transactions that took.
func group(t *testing.T, s *Store, calls ...func(context.Context) error) (answers []error, transactions int) {
	t.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.committer.do(t.Context(), &op{apply: func(*txn) error {
			close(entered)
			<-leave
			return nil
		}})
	})
	<-entered
	before := lastTransaction(t, s)
	answers = make([]error, len(calls))
	for i, call := range calls {
		wg.Go(func() { answers[i] = call(t.Context()) })
		for len(s.committer.queue) <= i {
			runtime.Gosched()
		}
	}
	close(leave)
	wg.Wait()
	return answers, lastTransaction(t, s) - before
}

func lastTransaction(t testing.TB, s *Store) (id int) {
	t.Helper()
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return nil
	}))
	return id
}

// dirty leaves the store in dir as a crash does: changed since it was opened, and
// never closed.
func dirty(t testing.TB, dir string) {
	t.Helper()
	s, err := Open(pathIn(dir), Options{})
	require.NoError(t, err)
	held, err := s.Reserve(t.Context(), intent.Intent{ID: intent.NewID(noon, 0)})
	require.NoError(t, err)
	require.NoError(t, s.Drop(t.Context(), held.ID, held.Epoch))
	file, err := os.ReadFile(pathIn(dir))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(pathIn(dir), file, 0o600))
}

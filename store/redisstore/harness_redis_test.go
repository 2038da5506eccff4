//go:build redis

package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
)

// open returns an empty store: under a prefix of its own, so that many tests share a
// server.
func open(t *testing.T, o redisstore.Options) *redisstore.Store {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = rand.Text() + ":"
	}
	s, err := redisstore.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// replicas returns two stores that are one. Their leases are short.
func replicas(t *testing.T, server *redistest.Server) (a, b *redisstore.Store) {
	t.Helper()
	o := redisstore.Options{Addrs: []string{server.Addr}, Prefix: rand.Text() + ":", Term: 300 * time.Millisecond}
	return open(t, o), open(t, o)
}

// begun is an intent with its first events, stored nowhere yet.
func begun(job string) (intent.Intent, []intent.Event) {
	now := time.Now().UTC()
	in := intent.Intent{ID: intent.NewID(now, store.ShardAt("", now)), Origin: intent.Origin{
		Scope: "default", Job: job, Created: now, Deadline: now.Add(24 * time.Hour),
	}}
	in, events := in.Begin(now)
	in, named := in.Deliver(intent.Delivery{StatusURL: "/status/" + in.ID.String()}, now)
	return in, append(events, named...)
}

func create(t *testing.T, s store.Store, job string) store.Held {
	t.Helper()
	in, events := begun(job)
	held, err := s.Create(t.Context(), in, events)
	require.NoError(t, err)
	return held
}

// reported is the change that a reading of so many percent makes.
func reported(held store.Held, percent float64) store.Change {
	in, events := held.Intent.Apply(intent.Reading{
		Status: intent.InProgress, Progress: &percent, Message: fmt.Sprint(percent),
	}, held.Intent.Updated.Add(time.Minute))
	return store.Change{Intent: in, Epoch: held.Epoch, After: held.Intent.Seq, Events: events}
}

func claim(t *testing.T, s store.Store, of ...store.JobName) []store.Held {
	t.Helper()
	held, err := s.Claim(t.Context(), 100, of...)
	require.NoError(t, err)
	return held
}

// eventually waits for what takes as long as it takes.
func eventually(t *testing.T, what func() bool) {
	t.Helper()
	require.Eventually(t, what, 30*time.Second, 5*time.Millisecond)
}

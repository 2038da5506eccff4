//go:build e2e

package caddymodule_test

import (
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// A roadway is what lies between Caddy and a backend: it can be closed, so that
// connections are refused, and spoil what comes over it.
type roadway struct {
	addr string
	far  http.Handler

	mu     sync.Mutex
	server *http.Server // nil while it is closed
	faults map[legacytest.Kind]*spoiled
	played map[string]int
}

// spoiled is what the next requests of a kind meet.
type spoiled struct {
	name  string
	fault legacytest.Fault
	times int
}

func newRoadway(t *testing.T, far http.Handler) *roadway {
	r := &roadway{addr: caddytest.FreeAddr(t), far: far, faults: make(map[legacytest.Kind]*spoiled), played: make(map[string]int)}
	t.Cleanup(r.close)
	r.open(t)
	return r
}

// open lets connections through. The address is nobody else's, but the kernel may take a
// moment to give it back.
func (r *roadway) open(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		return
	}
	listener, err := net.Listen("tcp", r.addr)
	for tries := 0; err != nil && tries < 100; tries++ {
		<-time.After(20 * time.Millisecond)
		listener, err = net.Listen("tcp", r.addr)
	}
	require.NoError(t, err)
	r.server = &http.Server{Handler: r}
	go r.server.Serve(listener) // until close
}

// close breaks all connections and refuses new ones.
func (r *roadway) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		_ = r.server.Close()
		r.server = nil
	}
}

// meets spoils the next so many requests of a kind.
func (r *roadway) meets(k legacytest.Kind, name string, fault legacytest.Fault, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[k] = &spoiled{name, fault, times}
}

// note counts a fault that no request meets.
func (r *roadway) note(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.played[name]++
}

func (r *roadway) recovers() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.faults)
}

func (r *roadway) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if fault := r.next(q); fault != nil {
		fault(w, q, r.far.ServeHTTP)
		return
	}
	r.far.ServeHTTP(w, q)
}

var kindsByMethod = map[string]legacytest.Kind{http.MethodPost: legacytest.Submits, http.MethodGet: legacytest.Polls, http.MethodDelete: legacytest.Cancels}

// next is what a request meets; nil for nothing. Who looks a job up by its key is told the
// truth, or it would follow another job.
func (r *roadway) next(q *http.Request) legacytest.Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.faults[kindsByMethod[q.Method]]
	if s == nil || s.times == 0 || q.URL.Path == "/reports/by-key" {
		return nil
	}
	s.times--
	r.played[s.name]++
	return s.fault
}

package engine

import (
	"strings"
	"sync"
)

// told remembers what has been logged, so that a thing which happens at every
// poll of a million intents is said once. A change of settings makes it forget:
// whoever changed them wants to see whether it is still so.
type told struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

// maxTold bounds the memory; the words come from a backend.
const maxTold = 1024

// first reports whether this has not been told yet, and notes that it is now.
func (t *told) first(about ...string) bool {
	key := strings.Join(about, "\x00")
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen[key]; ok || len(t.seen) >= maxTold {
		return false
	}
	if t.seen == nil {
		t.seen = make(map[string]struct{})
	}
	t.seen[key] = struct{}{}
	return true
}

func (t *told) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.seen)
}

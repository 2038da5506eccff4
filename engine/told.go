package engine

import (
	"strings"
	"sync"
)

// told remembers what has been logged, so that a thing which happens at every
// poll of a million intents is said once. A change of settings makes it forget:
// whoever changed them wants to see whether it is still so.
type told struct {
	mu    sync.Mutex
	seen  map[string]struct{}
	kinds map[string]int // of seen, by the first word
}

// maxTold bounds the memory for each kind of thing: words come from a backend, and
// many of them must not keep other things from being told.
const maxTold = 256

// first reports whether this has not been told yet, and notes that it is now.
func (t *told) first(about ...string) bool {
	key := strings.Join(about, "\x00")
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen[key]; ok || t.kinds[about[0]] >= maxTold {
		return false
	}
	if t.seen == nil {
		t.seen, t.kinds = make(map[string]struct{}), make(map[string]int)
	}
	t.seen[key] = struct{}{}
	t.kinds[about[0]]++
	return true
}

func (t *told) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.seen)
	clear(t.kinds)
}

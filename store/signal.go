package store

import (
	"slices"
	"sync"
)

// A Board passes signals to the listeners of this process: the part of a
// [Signaler] that all stores have in common. The zero value is ready. It starts no
// goroutine: Post returns after the last listener has.
type Board struct {
	mu        sync.RWMutex // read-locked while listeners run, so that stop can wait for them
	listeners []*func(Signal)
}

// Post calls every listener. A store calls it holding no lock that one of its own
// methods needs: a listener may take a lock under which others call the store.
func (b *Board) Post(s Signal) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, f := range b.listeners {
		(*f)(s)
	}
}

// Listen is the method of [Signaler].
func (b *Board) Listen(f func(Signal)) (stop func()) {
	listener := &f // functions cannot be compared, their addresses can
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners = append(b.listeners, listener)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.listeners = slices.DeleteFunc(b.listeners, func(l *func(Signal)) bool { return l == listener })
	}
}

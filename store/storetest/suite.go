// Package storetest is the one suite that every store passes: the contract of
// package store, as tests. A store's own test is a line:
//
//	storetest.Run(t, func(t *testing.T) store.Store { return memstore.New() })
//
// Stores that outlive their process add [Reopen].
package storetest

import (
	"testing"

	"github.com/caddy-intents/caddy-intents/store"
)

// Run tests the contract. open returns an empty store of its own each time; Run
// closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, group := range []struct {
		noun  string
		tests []test
	}{
		{"create", createTests},
		{"reserve", reserveTests},
		{"key", keyTests},
		{"append", appendTests},
		{"hold", holdTests},
		{"events", eventsTests},
		{"list", listTests},
		{"job", jobTests},
		{"purge", purgeTests},
		{"outbox", outboxTests},
		{"signal", signalTests},
		{"close", closeTests},
		{"concurrency", concurrencyTests},
		{"model", modelTests},
	} {
		t.Run(group.noun, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.promise, func(t *testing.T) { test.run(newTester(t, open)) })
			}
		})
	}
}

// A test is a promise and how it is held to it.
type test struct {
	promise string
	run     func(*tester)
}

// Live leads one intent through its whole life, for tests of where a store works.
func Live(t *testing.T, s store.Store) {
	l := &tester{T: t, Store: s}
	heard, _ := l.listen()
	held := l.create()
	l.release(held)
	l.end(l.report(l.claim(1)[0], 50))
	if n := len(heard.signals()); n != 3 {
		t.Errorf("heard %d signals, want 3", n)
	}
}

// Package simulation plays the whole main path in virtual time: clients, an engine, a
// store, observers and a backend, with faults everywhere, thousands of times a minute.
// Each schedule is drawn from a seed, and an auditor reads what everybody saw when it
// is over. It is all in the tests.
//
// What a seed repeats: who does what at which nanosecond, every fault of the backend
// and of the store, ids, and what the engine leaves to chance. What it does not: which
// of two goroutines goes first that are ready at the same instant, and which of several
// ready cases a select takes. Clients and faults have moments of their own, to the
// nanosecond, so that this is rare; a test shows that a seed gives the same history.
package simulation

// Package webhook tells others of events by POST, as Standard Webhooks says
// (standardwebhooks.com): signed, again and again until it is taken or given up.
//
// What is to be told waits in the store's outbox, where it was put together with its
// event. A [Sender] collects what is due, sends it and notes what became of it there,
// so that a message survives whatever happens to the sender. It is told at least once:
// a receiver tells repeats by the header webhook-id.
//
// A receiver is whoever an operator or, within bounds, a client has named. What it
// answers is not believed, not followed and hardly read.
package webhook

// Package engine starts jobs and follows them to their end. It is the only place
// where a job is submitted, a status polled or a deadline kept, and it owns every
// goroutine that runs without a request.
//
// In come submits ([Engine.Submit]) and what the store holds from an earlier
// life; out go requests through a [Transport], and events through the store.
// Observers are not its business: it learns that somebody watches an intent from
// the store's signals, and they learn of events the same way.
//
// The way of an intent: Submit sends the client's request and, when the answer
// names a job, stores the intent before the client is answered. The schedule (one
// heap, one goroutine) then says when to ask the backend; pollOnce asks, has the
// adapter read the answer and package intent say what it means, and appends the
// events. What fails on the way is tried again later; see pace.go for when.
//
// Two things spare requests where the job API can do them: intents that are due at
// about the same time share one (batch.go), and a backend that can wait answers when
// there is something new (wait.go).
//
// What is due waits for a turn on the lane of its backend (lane.go), which keeps to the
// limits; a breaker for each job (breaker.go) holds polls back while the backend is
// down, and a budget (budget.go) keeps those that fail from crowding out the others.
//
// Settings come and go with the config: a [Generation] is applied by [Engine.Use]
// and taken back by the function that Use returns; the last one applied counts,
// also for intents that exist. What a generation does not know any more is parked
// until its deadline.
//
// Where several engines share a store, what one of them may work on is held by leases
// that end: ledger.go notes them, lease.go renews them and claims what others let go of,
// and tenure.go ends polls with them. What a store does not take is kept by draft.go and
// written by writeback.go.
//
// In memory an intent that is held costs about 150 bytes; everything else is read
// from the store when it is needed. Where leases end it costs another kilobyte.
package engine

// Package observe serves the events of intents to clients, as JSON and as
// server-sent events.
//
// An observer is a cursor and a doorbell. The cursor is the id of the last event
// it was sent; the doorbell is a channel of the [Hub], rung when the store has
// stored something new. The observer then looks for what follows its cursor and
// writes it, and that is the same code for the history a client missed, for what
// happens now, and for a ring that got lost, because it also looks without being rung
// at every [store.CheckInterval]. It reads the store, unless what was just stored is in
// the room's tail and begins at its cursor: that is the same bytes. So every observer of
// an intent, from any cursor, sees the same events in order.
//
// A stream ends cleanly in two ways only: with the terminal event, or with
// stream.timeout where the client set a limit. Many clients take a clean end for
// the end of the job, so every other end aborts the response (see [Server.ServeHTTP]).
//
// The hub belongs to the process and outlives a reload of the configuration; a
// [Server] belongs to one configuration. An open stream refers to the hub, the
// store and a few values of its own, never to its Server, or it would keep an
// unloaded configuration in memory for as long as it lasts.
package observe

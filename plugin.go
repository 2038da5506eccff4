// Package caddyintents is a Caddy plugin that turns a job API which answers 202
// and is polled into durable intents with one live event stream each, without a
// change to the backend. Importing it registers the plugin:
//
//	xcaddy build v2.11.9 --with github.com/caddy-intents/caddy-intents
//
// This is the story of one job, and where each part of it is told.
//
// # Submit
//
// A client POSTs as it always did. Package caddymodule finds the job whose submit
// route this is, and engine.Submit sends the request on through the backend that
// the config names. Package adapter reads the answer: the id of the job, where its
// status is, and perhaps its first state.
//
// # Intent
//
// The store creates the intent with its first events in one durable step, before
// the client is answered; package store is the contract, and boltstore, redisstore
// and memstore keep it. The client gets the backend's own answer, with an intent id
// added.
//
// # Poll
//
// The engine asks for the status when it is due, at the pace of the config while
// somebody watches and more rarely while nobody does. The adapter makes a reading
// of the answer: what the backend said, in our words.
//
// # Event
//
// Package intent says what a reading means: a pure function from an intent and a
// reading to the intent and its new events. The store appends them and rings.
//
// # Observe
//
// Package observe serves the events to whoever asks, from any position, as JSON or
// as a stream. It reads from the store; the ringing carries no data, so that
// losing one costs a moment and never an event. Who goes on polling the backend's
// own status URL is answered by package offload from the last reading, and package
// webhook tells those who wait to be told.
//
// # End
//
// The terminal event ends the streams, and retention removes the intent later.
package caddyintents

import _ "github.com/caddy-intents/caddy-intents/caddymodule" // registers the plugin

// Package caddymodule is Caddy's side of caddy-intents, and the only package that
// knows Caddy: the app "intents" with the store and the engine, the handler
// "http.handlers.intents" with jobs and backends, the stores as guest modules, the
// Caddyfile, and the command "caddy intents".
//
// Config and life differ. Apps and handlers come and go with every reload, while
// intents are polled and streams stay open. So what lives longer than a config is
// in an [installation], one for each store address, kept by a usage pool; a config
// that starts adds its settings to it as a generation, and takes them away when it
// stops.
package caddymodule

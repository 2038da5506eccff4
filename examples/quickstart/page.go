package main

import (
	_ "embed"
	"net/http"
)

//go:embed page.html
var page []byte

// withPage is what runs behind Caddy: the service, the page that shows both ways
// of waiting, and the service once more under /before. The Caddyfile does not name
// that path, so the plugin leaves it alone: there it is as it was before.
func withPage(service http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", service)
	mux.Handle("/before/", http.StripPrefix("/before", service))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	return mux
}

package observe

import (
	"net/http"
	"slices"
	"strings"
)

// CORS is the origins whose pages may use the intent API, with credentials. An
// origin is answered with itself and never with "*".
type CORS []string

const (
	corsMethods = "GET, HEAD, POST, DELETE"
	corsAllow   = "Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, X-Api-Key, X-Axme-Client, X-Trace-Id"
	corsMaxAge  = "7200" // seconds; no browser keeps it for longer
)

// corsExpose are the headers of ours that a page needs.
var corsExpose = []string{
	"Idempotency-Replayed", "Intent-Id", "Intent-Status", "Link", "Location", "Preference-Applied", "Retry-After", "X-Trace-Id",
}

// Head sets what the head of an answer of ours needs.
func (c CORS) Head(h http.Header, r *http.Request) {
	if len(c) == 0 {
		return
	}
	if !slices.Contains(h["Vary"], "Origin") { // the answer may have had a head already
		h.Add("Vary", "Origin")
	}
	if origin := r.Header.Get("Origin"); slices.Contains(c, origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", strings.Join(corsExpose, ", "))
	}
}

// Preflight answers a request with which a browser asks whether it may make
// another, and reports whether it was one. Browsers send no credentials with it.
func (c CORS) Preflight(w http.ResponseWriter, r *http.Request) bool {
	if len(c) == 0 || r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if slices.Contains(c, r.Header.Get("Origin")) {
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", corsAllow)
		if more := r.Header.Get("Access-Control-Request-Headers"); more != "" {
			// What the backend's users authenticate with, X-Auth-Token for example, is not known
			// here; the origin is.
			h.Add("Access-Control-Allow-Headers", more)
		}
		h.Set("Access-Control-Max-Age", corsMaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// Expose adds our headers to what a page may read of the backend's own answer, if
// the backend lets it read any. Who may is the backend's to say: nothing else is
// added, and nothing a second time.
func (c CORS) Expose(h http.Header) {
	if len(c) == 0 || h.Get("Access-Control-Allow-Origin") == "" {
		return
	}
	var names []string
	for name := range strings.SplitSeq(strings.Join(h.Values("Access-Control-Expose-Headers"), ","), ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	for _, ours := range corsExpose {
		if h.Get(ours) != "" && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, ours) }) {
			names = append(names, ours)
		}
	}
	if len(names) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(names, ", "))
	}
}

package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-intents/caddy-intents/observe"
)

// ownerOf is who a request is from, as the config says; "" for nobody. Where no
// owner is configured everybody is nobody.
func (h *Handler) ownerOf(r *http.Request) string {
	if h.Owner == "" {
		return ""
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	owner, err := repl.ReplaceOrErr(h.Owner, true, true)
	if err != nil || strings.TrimSpace(owner) == "" {
		return ""
	}
	return owner
}

// isPlaceholder reports whether s is one placeholder and nothing else. With a text
// around it, or two, the value would not be empty for a request from nobody.
func isPlaceholder(s string) bool {
	name, ok := strings.CutPrefix(s, "{")
	name, closed := strings.CutSuffix(name, "}")
	return ok && closed && name != "" && !strings.ContainsAny(name, "{}")
}

// ownerPurpose separates owners from all else that is made of the secret.
const ownerPurpose = "owner"

// viewed returns the request with what observe has to know of it: what was stripped
// from its path, and whose it is.
func (h *Handler) viewed(r *http.Request) *http.Request {
	ctx := observe.WithPrefix(r.Context(), strippedPrefix(r))
	if owner := h.ownerOf(r); owner != "" {
		ctx = observe.WithViewer(ctx, observe.Viewer{Owners: h.app.keys.MACs(ownerPurpose, h.Name, owner)})
	}
	return r.WithContext(ctx)
}

// hideToken keeps a request with an observe token out of the access log, whose lines
// have the query, and logs a line without it.
func (h *Handler) hideToken(r *http.Request) {
	// A query that Go does not take apart (with a semicolon) is read by nobody here,
	// and would be logged by others.
	if !strings.Contains(r.URL.RawQuery, "token") && !r.URL.Query().Has("token") {
		return
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	h.logger.Info("request with an observe token", "method", r.Method, "path", r.URL.Path, "client", clientIP(r))
}

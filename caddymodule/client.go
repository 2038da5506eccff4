package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-intents/caddy-intents/offload"
)

// strippedPrefix is what `handle_path` and the like took from the front of the
// path: it has to be put before every URL that a client is given.
func strippedPrefix(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return ""
	}
	prefix, ok := strings.CutSuffix(original.URL.EscapedPath(), r.URL.EscapedPath())
	if !ok {
		return "" // rewritten otherwise
	}
	return prefix
}

// scheme is how the client reached us, or the proxy before us if it is trusted.
func scheme(r *http.Request) string {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	forwarded := strings.ToLower(r.Header.Get("X-Forwarded-Proto"))
	switch {
	case trusted && (forwarded == "http" || forwarded == "https"):
		return forwarded
	case r.TLS != nil:
		return "https"
	}
	return "http"
}

func clientIP(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}

// asker is what we know of who sends a request, besides what is in it. Who has no
// owner where owners are configured makes no intents.
func (h *Handler) asker(r *http.Request) offload.Asker {
	who := offload.Asker{Scheme: scheme(r), Client: clientIP(r), Prefix: strippedPrefix(r)}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		who.User, _ = repl.GetString("http.auth.user.id")
	}
	if h.Owner == "" {
		return who
	}
	who.Owners = []string{}
	if owner := h.ownerOf(r); owner != "" {
		who.Owners = h.app.keys.MACs(ownerPurpose, h.Name, owner)
	}
	return who
}

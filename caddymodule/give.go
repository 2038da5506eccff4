package caddymodule

import (
	"net/http"
	"net/url"

	"github.com/caddy-intents/caddy-intents/observe"
)

// giver gives observers what the backend has, in answer to their own requests.
type giver struct{ *Handler }

// Give implements observe.Backend. It changes the request's URL in place, as Caddy's
// rewrites do: placeholders in the backend block are about this very URL.
func (g giver) Give(w http.ResponseWriter, r *http.Request, target string) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		observe.NotFound().ServeHTTP(w, r)
		return
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = u.Path, u.RawPath, u.RawQuery
	r.RequestURI = target
	r.Header.Del("Referer") // it can be a URL of ours, with a token
	given := watchHead(w, func(_ int, h http.Header) { g.asOurs(h, r) })
	err = g.toBackend(given, r)
	if err != nil && r.Context().Err() == nil {
		g.logger.ErrorContext(r.Context(), "giving an observer what the backend has", "err", err)
	}
	if err != nil && !given.told {
		(&observe.Problem{Status: http.StatusBadGateway, Code: "backend", Message: "the backend did not answer"}).ServeHTTP(w, r)
	}
}

// asOurs makes the head of the backend's answer that of one under our path: who may
// see it is decided there for each request, so that no cache may keep it, and which
// pages may is ours to say if it was configured.
func (g giver) asOurs(h http.Header, r *http.Request) {
	h.Set("Cache-Control", "no-store")
	g.axp.Head(h, r)
	if len(g.CORS) == 0 {
		return
	}
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers"} {
		h.Del(name)
	}
	observe.CORS(g.CORS).Head(h, r)
}

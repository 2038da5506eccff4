package caddymodule

import (
	"errors"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-intents/caddy-intents/observe"
)

// axpFor returns what is configured for AXME's clients; nil if nothing is.
func (h *Handler) axpFor() *observe.AXP {
	if !h.AXP {
		return nil
	}
	axp := new(observe.AXP)
	for _, job := range h.Jobs {
		axp.IntentTypes = append(axp.IntentTypes, job.Name)
	}
	return axp
}

// serveAXP answers what AXME's clients ask for beside the path of intents. Any other
// request is not answered.
func (h *Handler) serveAXP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (answered bool, err error) {
	switch path := r.URL.Path; {
	case h.axp == nil:
		return false, nil
	case path == "/v1/capabilities":
		h.serveCapabilities(w, r)
		return true, nil
	case isRead(r) && (path == "/health" || path == "/v1/health"): // there are SDKs for both
		return true, h.serveHealth(w, r, next)
	}
	return false, nil
}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// serveCapabilities tells the names of the jobs, which are not for everybody where
// intents have owners.
func (h *Handler) serveCapabilities(w http.ResponseWriter, r *http.Request) {
	h.ours(w, r)
	switch {
	case observe.CORS(h.CORS).Preflight(w, r):
	case !isRead(r):
		observe.MethodNotAllowed("GET, HEAD").ServeHTTP(w, r)
	case h.Owner != "" && h.ownerOf(r) == "":
		observe.Unauthorized().ServeHTTP(w, r)
	default:
		h.axp.Capabilities(w, r)
	}
}

// ours sets what the head of an answer of ours needs, whoever makes the rest of it.
func (h *Handler) ours(w http.ResponseWriter, r *http.Request) {
	observe.CORS(h.CORS).Head(w.Header(), r)
	h.axp.Head(w.Header(), r)
}

// serveHealth asks the backend, whose health is what a load balancer in front of us
// may be looking at. Where it has none, ours is told.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	asked := &unlessMissing{ResponseWriter: w, before: w.Header().Clone()}
	if err := h.passOn(asked, r, next); !asked.missing && (asked.told || !isMissing(err)) {
		return err
	}
	h.ours(w, r)
	if h.app.open() == nil {
		observe.Unavailable().ServeHTTP(w, r)
		return nil
	}
	h.axp.Health(w, r)
	return nil
}

// isMissing reports whether an error is that of a handler which has no such URL.
func isMissing(err error) bool {
	e, ok := errors.AsType[caddyhttp.HandlerError](err)
	return ok && e.StatusCode == http.StatusNotFound
}

// An unlessMissing is a response from which a 404 is kept, with all that belongs to it.
// It is no io.ReaderFrom, or proxies would copy past it.
type unlessMissing struct {
	http.ResponseWriter
	before        http.Header // what was in the header before anybody answered
	told, missing bool
}

func (w *unlessMissing) WriteHeader(code int) {
	switch {
	case w.missing:
		return
	case code == http.StatusNotFound && !w.told:
		w.missing = true
		clear(w.Header())
		maps.Copy(w.Header(), w.before)
		return
	}
	w.told = w.told || code >= 200
	w.ResponseWriter.WriteHeader(code)
}

func (w *unlessMissing) Write(p []byte) (int, error) {
	if w.missing {
		return len(p), nil
	}
	w.told = true
	return w.ResponseWriter.Write(p)
}

// FlushError implements what http.ResponseController looks for: a flush would send the
// head of what is kept.
func (w *unlessMissing) FlushError() error {
	if w.missing {
		return nil
	}
	w.told = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController, too.
func (w *unlessMissing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

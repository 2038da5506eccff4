package caddymodule

import (
	"net/http"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// watchCancel looks at the answer to a request by which a client cancels a job at the
// backend itself: the engine has to know of that, or a job that is gone after it would
// be one that was lost. Any other request gets w as it is.
func (h *Handler) watchCancel(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	for _, job := range h.jobs {
		statusURL, ok := job.Adapter.MatchCancel(r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
		if !ok {
			continue
		}
		parts := h.app.open()
		if parts == nil {
			return w // no store, no intent
		}
		return watchHead(w, func(code int, _ http.Header) { // what the client learns is known here first
			if job.Adapter.ReadCancel(&intent.Intent{}, adapter.Answer{Code: code}) == adapter.CancelAccepted &&
				h.serversOf(parts).offloader.Means(r, h.asker(r), statusURL) {
				parts.engine.NoteCancel(r.Context(), h.Name, statusURL)
			}
		})
	}
	return w
}

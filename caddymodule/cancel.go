package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

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
		return &cancelWatch{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
			seen: func(code int) {
				if job.Adapter.ReadCancel(&intent.Intent{}, adapter.Answer{Code: code}) == adapter.CancelAccepted &&
					h.offloader(parts).Means(r, h.asker(r), statusURL) {
					parts.engine.NoteCancel(r.Context(), h.Name, statusURL)
				}
			},
		}
	}
	return w
}

// A cancelWatch tells the code of an answer before it passes it on, so that what the
// client learns is known here first.
type cancelWatch struct {
	*caddyhttp.ResponseWriterWrapper
	seen func(code int)
	told bool
}

func (c *cancelWatch) WriteHeader(code int) {
	if code >= 200 && !c.told {
		c.told = true
		c.seen(code)
	}
	c.ResponseWriterWrapper.WriteHeader(code)
}

func (c *cancelWatch) Write(p []byte) (int, error) {
	if !c.told {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriterWrapper.Write(p)
}

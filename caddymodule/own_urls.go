package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-intents/caddy-intents/observe"
)

// OwnURLs says what is done with requests for the status URLs that the backend itself
// has. A job's lines win over those of its handler.
type OwnURLs struct {
	// Whether those who poll such a URL are answered from the last reading, after the
	// backend has let them: `on`, `off`, or a duration up to which a reading may be old
	// that is served while the next poll cannot be made. Default: `on`.
	Offload string `json:"offload,omitempty"`

	// Whether a job that was not submitted here gets an intent when somebody asks for
	// the stream of its status URL: `on` or `off`. Default: `on`.
	Adopt string `json:"adopt,omitempty"`
}

// over fills in what is not written from the handler's.
func (o OwnURLs) over(h OwnURLs) OwnURLs {
	if o.Offload == "" {
		o.Offload = h.Offload
	}
	if o.Adopt == "" {
		o.Adopt = h.Adopt
	}
	return o
}

func (o OwnURLs) check() error {
	switch _, err := o.stale(); {
	case err != nil:
		return fmt.Errorf("offload: %q is none of on, off, and a positive duration; write for example `offload 30s`", o.Offload)
	case o.Adopt != "" && o.Adopt != "on" && o.Adopt != "off":
		return fmt.Errorf("adopt: %q is neither on nor off", o.Adopt)
	}
	return nil
}

// stale is how old a reading may be that is served although a poll is due.
func (o OwnURLs) stale() (time.Duration, error) {
	if o.Offload == "" || o.Offload == "on" || o.Offload == "off" {
		return 0, nil
	}
	d, err := caddy.ParseDuration(o.Offload)
	if err == nil && d <= 0 {
		err = errors.New("not positive")
	}
	return d, err
}

// words are the lines of a Caddyfile block.
func (o *OwnURLs) words() block {
	return block{"offload": textTo(&o.Offload), "adopt": textTo(&o.Adopt)}
}

// serveOwnURL answers a request for a job's own status URL, or passes it on. A store
// that is not open costs nobody anything.
func (h *Handler) serveOwnURL(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	pass := func(w http.ResponseWriter, r *http.Request) error { return h.passOn(h.watchCancel(w, r), r, next) }
	p := h.partsFor(r)
	if p == nil {
		return pass(w, r)
	}
	return h.serversOf(p).offloader.Serve(w, r, h.asker(r), pass)
}

// partsFor returns what is open to answer a request for a job's own URL. A start in
// progress is waited for by who wants a stream only: an EventSource that is answered in
// the backend's JSON gives up for good, and they all come back right after a restart.
func (h *Handler) partsFor(r *http.Request) *parts {
	if r.Method == http.MethodGet && observe.WantsNothingButStream(r.Header) {
		return h.app.await(r.Context())
	}
	return h.app.open()
}

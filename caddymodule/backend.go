package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-intents/caddy-intents/engine"
)

// A transport sends requests through a handler of the config, so that a poll gets
// all that a request of a client does: load balancing, health checks, retries,
// TLS, headers.
type transport struct {
	handler caddyhttp.MiddlewareHandler
	server  *caddyhttp.Server // handlers expect one in the request's context
	logger  *slog.Logger
	tracers *tracers
}

// errBrokeOff says that an answer ended before it was whole, or its reader did not
// want all of it.
var errBrokeOff = errors.New("the answer broke off")

// Send implements engine.Transport.
func (t *transport) Send(w http.ResponseWriter, r *http.Request) (err error) {
	end := func(error) {}
	defer func() { end(err) }()
	defer func() {
		if p := recover(); p != nil {
			err = t.recovered(p)
		}
	}()
	if r.Context().Value(caddy.ReplacerCtxKey) == nil { // a request of our own
		w, r, end = t.tracers.spanOwn(w, r)
		r = caddyhttp.PrepareRequest(r, ownReplacer(r.Context()), w, t.server)
	}
	err = t.notSent(t.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(noAnswer)))
	if cause := context.Cause(r.Context()); err == nil && cause != nil {
		return cause // a proxy calls this a 499 of the backend
	}
	return err
}

// ownReplacer is for a request of our own: in the backend block its placeholders are
// about its intent.
func ownReplacer(ctx context.Context) *caddy.Replacer {
	repl := caddy.NewReplacer()
	if in := engine.About(ctx); in != nil {
		repl.Map(placeholdersOf(in))
	}
	return repl
}

// notSent marks errors which say that no backend was reached.
func (t *transport) notSent(err error) error {
	var dial reverseproxy.DialError
	if errors.As(err, &dial) || err != nil && strings.HasSuffix(err.Error(), "no upstreams available") {
		return notSentError{err}
	}
	return err
}

// A notSentError is an error of Caddy's which says that no backend was reached. Caddy
// looks at the type of an error, so it gets the original one back.
type notSentError struct{ error }

func (e notSentError) Is(target error) bool { return target == engine.ErrNotSent }
func (e notSentError) Unwrap() error        { return e.error }

// forCaddy is an error of a transport as Caddy has to get it.
func forCaddy(err error) error {
	if e, ok := err.(notSentError); ok {
		return e.error
	}
	return err
}

// recovered makes an error of a panic. A proxy panics on purpose when an answer
// breaks off; anything else is a fault in a handler, and must end one request and
// not, from a goroutine of the engine, the process.
func (t *transport) recovered(p any) error {
	if p == http.ErrAbortHandler {
		return errBrokeOff
	}
	t.logger.Error("the backend's handler panicked", "panic", p, "stack", string(debug.Stack()))
	return caddyhttp.Error(http.StatusInternalServerError, fmt.Errorf("the backend's handler panicked: %v", p))
}

// noAnswer comes after the last handler of a backend.
func noAnswer(http.ResponseWriter, *http.Request) error {
	return caddyhttp.Error(http.StatusBadGateway, errors.New("nothing in the backend block answers this request"))
}

// upstreamsOf returns the addresses that a backend dials, as far as they are
// written in its config: a status URL may name them.
func upstreamsOf(backend json.RawMessage) []string {
	var found []string
	visit(backend, func(key string, value json.RawMessage) {
		var upstreams []struct {
			Dial string `json:"dial"`
		}
		if key != "upstreams" || json.Unmarshal(value, &upstreams) != nil {
			return
		}
		for _, u := range upstreams {
			if u.Dial != "" {
				found = append(found, u.Dial)
			}
		}
	})
	return found
}

// repeatsPosts reports whether a backend may send a request of an unsafe method
// more than once, which makes two jobs of one submit.
func repeatsPosts(backend json.RawMessage) bool {
	repeats := false
	visit(backend, func(key string, value json.RawMessage) {
		if key == "retry_match" && string(value) != "null" {
			repeats = true
		}
	})
	return repeats
}

// visit calls f with every member of every object in a JSON value.
func visit(value json.RawMessage, f func(key string, value json.RawMessage)) {
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) == nil {
		for k, v := range members {
			f(k, v)
			visit(v, f)
		}
		return
	}
	var elements []json.RawMessage
	if json.Unmarshal(value, &elements) == nil {
		for _, v := range elements {
			visit(v, f)
		}
	}
}

var _ engine.Transport = (*transport)(nil)

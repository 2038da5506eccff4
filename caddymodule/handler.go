package caddymodule

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/observe"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// defaultName is the scope of a handler that has no name of its own.
const defaultName = "default"

// Handler stands in front of a job API. A request that starts a job goes to the
// backend and, if the answer names a job, becomes an intent: it is polled from
// here on, and clients follow it under `path`. Every other request goes on to the
// next handler, and to the backend if no handler answers it.
type Handler struct {
	// The name of this handler. Intent ids and job names live within it. Default: `default`.
	Name string `json:"name,omitempty"`

	// The handler that reaches the job API, for example a `reverse_proxy`. Submits,
	// polls and what no other handler answers go through it. Required.
	BackendRaw json.RawMessage `json:"backend,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	// The path under which intents are read and observed. Default: `/v1/intents`.
	Path string `json:"path,omitempty"`

	// The pause between two signs of life on a quiet stream, 1s to 60s. Default: 4s.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	// Whose an intent is: a placeholder such as `{http.auth.user.id}`. With it requests
	// under `path` see the intents of their own owner only, need one (else 401) or an
	// observe token, and a submit without one makes no intent. Kept as a MAC. Default:
	// intents have no owners, and who knows an id may read it.
	Owner string `json:"owner,omitempty"`

	// Origins whose pages may use the intent API from a browser, with credentials, for
	// example `https://app.example.com`. Default: none.
	CORS []string `json:"cors,omitempty"`

	// Hosts that URLs given by the backend may name, besides the request's own, the
	// upstreams and loopback. Only path and query of such a URL are used; the
	// request goes through the backend. Default: none.
	AllowHost []string `json:"allow_host,omitempty"`

	// Hosts that a submit may name with the header Webhook-URL, for jobs that have a
	// webhook without a URL: host for the scheme's default port, host:port for that port
	// only. Default: none.
	WebhookHosts []string `json:"webhook_hosts,omitempty"`

	OwnURLs

	// Whether AXME's SDKs and CLI are served: `/health`, `/v1/health` and
	// `/v1/capabilities`, and what they need to be treated differently. Needs the path
	// `/v1/intents`. Default: false.
	AXP bool `json:"axp,omitempty"`

	// How much of the backend and of this server may be used.
	Limits *Limits `json:"limits,omitempty"`

	// The jobs that the backend does.
	Jobs []*Job `json:"jobs,omitempty"`

	app     *App
	backend *transport
	jobs    []*engine.Job
	logger  *slog.Logger
	axp     *observe.AXP // nil without

	ownerless sync.Once // warned of submits without an owner
	servers   atomic.Pointer[servers]
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.intents", New: func() caddy.Module { return new(Handler) }}
}

// Provision loads the backend, compiles the jobs and registers them.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Slogger()
	h.fillDefaults()
	if err := h.check(); err != nil {
		return err
	}
	app, err := ctx.App("intents")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.axp = h.axpFor()
	raw := bytes.Clone(h.BackendRaw) // LoadModule may drop it
	if err := h.provisionBackend(ctx, raw); err != nil {
		return err
	}
	return h.provisionJobs(raw)
}

func (h *Handler) fillDefaults() {
	h.Name = cmp.Or(h.Name, defaultName)
	h.Path = cmp.Or(h.Path, observe.DefaultPath)
	h.Heartbeat = cmp.Or(h.Heartbeat, caddy.Duration(observe.DefaultHeartbeat))
	if h.Limits == nil {
		h.Limits = new(Limits)
	}
	h.Limits.fillDefaults()
}

// check refuses what cannot work, with what to write instead.
func (h *Handler) check() error {
	switch {
	case h.BackendRaw == nil:
		return errors.New("backend: missing; write the address of the job API after `intents`, or a `backend` block")
	case !strings.HasPrefix(h.Path, "/") || len(h.Path) < 2 || strings.HasSuffix(h.Path, "/") || strings.ContainsAny(h.Path, "{}*?# "):
		return fmt.Errorf("path: %q is not a path under which intents can be; write for example /v1/intents", h.Path)
	case h.AXP && h.Path != observe.DefaultPath:
		return fmt.Errorf("axp: AXME's clients know no other path than %s, and path is %s; leave one of the two out", observe.DefaultPath, h.Path)
	case h.Heartbeat < caddy.Duration(time.Second) || h.Heartbeat > caddy.Duration(time.Minute):
		return fmt.Errorf("heartbeat: %s is out of range; write 1s to 60s", time.Duration(h.Heartbeat))
	case h.Limits.negative():
		return errors.New("limits: a limit is negative; leave out what is not to be limited otherwise than by default")
	case h.Owner != "" && !isPlaceholder(h.Owner):
		return fmt.Errorf("owner: %q is not one placeholder and nothing else, and would make an owner of nobody; write for example {http.auth.user.id}", h.Owner)
	case slices.ContainsFunc(h.CORS, func(o string) bool { return !isOrigin(o) }):
		return fmt.Errorf("cors: %q: write origins as browsers send them, each with scheme and host in lower case and without a path or the usual port, for example https://app.example.com", h.CORS)
	case len(h.Jobs) == 0:
		return errors.New("jobs: missing; write at least one `job <name> { submit ...; status ... }`")
	}
	return h.OwnURLs.check()
}

// isOrigin reports whether o is what a browser sends as Origin.
func isOrigin(o string) bool {
	u, err := url.Parse(o)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "*") || strings.HasSuffix(u.Host, ":") {
		return false
	}
	usual, ok := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	return ok && u.Port() != usual && o == strings.ToLower(u.Scheme+"://"+u.Host)
}

func (h *Handler) provisionBackend(ctx caddy.Context, raw json.RawMessage) error {
	mod, err := ctx.LoadModule(h, "BackendRaw")
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		server = new(caddyhttp.Server)
	} else {
		shared := h.app.installation
		server.RegisterOnShutdown(func() {
			// At a reload streams go on. At the end of the process the server would
			// wait for them, for ever by default.
			if caddy.Exiting() {
				shared.drain()
			}
		})
	}
	h.backend = &transport{handler: mod.(caddyhttp.MiddlewareHandler), server: server, logger: h.logger, tracers: &h.app.installation.tracers}
	if repeatsPosts(raw) {
		h.logger.Warn("lb_retry_match of the backend may send one submit twice, which makes two jobs")
	}
	return nil
}

func (h *Handler) provisionJobs(backend json.RawMessage) error {
	shared := &engine.Backend{
		// Handlers of one name can have different backends, each with its own limits.
		Name:      fmt.Sprintf("%s %x", h.Name, sha256.Sum256(backend)),
		Transport: h.backend,
		InFlight:  h.Limits.InFlight,
		Rate:      h.Limits.Rate,
	}
	options := adapter.Options{AllowHosts: h.AllowHost, Upstreams: upstreamsOf(backend)}
	for i, j := range h.Jobs {
		compiled, err := j.compile(options, func(header, placeholder string) {
			h.logger.Warn("a header of our requests has a placeholder that stands for nothing", "job", j.Name, "header", header, "placeholder", placeholder)
		})
		if err != nil {
			return fmt.Errorf("jobs[%d] %q: %w", i, j.Name, err)
		}
		compiled.Scope, compiled.Backend, compiled.MaxBody = h.Name, shared, h.Limits.Body
		if hooks, ok := compiled.Teller.(*hooks); ok {
			hooks.keyring = h.app.keyring
		}
		if err := h.distinct(compiled); err != nil {
			return fmt.Errorf("jobs[%d] %q: %w", i, j.Name, err)
		}
		h.jobs = append(h.jobs, compiled)
		err = h.app.register(&registeredJob{job: compiled, meant: h.meaning(j, backend), origin: h.describe()})
		if err != nil {
			return err
		}
	}
	return nil
}

// distinct refuses a second job by the same name or with the same submit route, and
// what the handler as a whole makes senseless.
func (h *Handler) distinct(job *engine.Job) error {
	if route := job.Adapter.Route(); h.isObserve(route.Path) {
		return fmt.Errorf("submit: %s is under %s, where intents are served; give the handler another path", route.Path, h.Path)
	}
	if hooks, ok := job.Teller.(*hooks); ok && hooks.named != nil && len(h.WebhookHosts) == 0 {
		return errors.New("webhook: it has no URL, and no request may name one; write a URL, or webhook_hosts in the handler")
	}
	for _, other := range h.jobs {
		if other.Name == job.Name {
			return fmt.Errorf("the name is taken by another job of this handler; give each job a name of its own")
		}
		if other.Adapter.Route().Overlaps(job.Adapter.Route()) {
			return fmt.Errorf("submit: %s %s can be the same request as that of job %q; one request can start one job",
				job.Adapter.Route().Method, job.Adapter.Route().Path, other.Name)
		}
	}
	return nil
}

// meaning is what a job means, backend and limits included, as canonical JSON.
func (h *Handler) meaning(j *Job, backend json.RawMessage) []byte {
	raw, err := json.Marshal(struct {
		Backend json.RawMessage
		Allow   []string
		Limits  *Limits
		Path    string
		Job     *Job
	}{backend, h.AllowHost, h.Limits, h.Path, j})
	if err != nil {
		panic("caddymodule: config cannot be written as JSON: " + err.Error()) // it was read from JSON
	}
	return raw
}

func (h *Handler) describe() string { return fmt.Sprintf("handler %q with path %s", h.Name, h.Path) }

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	h.app.installation.tracers.note(r.Context(), h.Name)
	r = h.mention(r)
	if h.isObserve(r.URL.Path) {
		return h.serveIntents(w, r)
	}
	for _, job := range h.jobs {
		if params, ok := job.Adapter.MatchSubmit(r.Method, r.URL.EscapedPath()); ok {
			return h.submit(w, r, job, params)
		}
	}
	if answered, err := h.serveAXP(w, r, next); answered {
		return err
	}
	return h.serveOwnURL(w, r, next)
}

func (h *Handler) isObserve(path string) bool {
	rest, ok := strings.CutPrefix(path, h.Path)
	return ok && (rest == "" || rest[0] == '/')
}

// passOn leaves a request to the handlers after us and, if none of them answers,
// to the backend: `intents` alone is a complete site.
func (h *Handler) passOn(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := next.ServeHTTP(w, r); err != nil {
		return err
	}
	if unhandled, _ := caddyhttp.GetVar(r.Context(), "unhandled").(bool); !unhandled {
		return nil
	}
	caddyhttp.SetVar(r.Context(), "unhandled", false)
	return h.toBackend(w, r)
}

func (h *Handler) toBackend(w http.ResponseWriter, r *http.Request) error {
	err := h.backend.Send(w, r)
	if errors.Is(err, errBrokeOff) {
		panic(http.ErrAbortHandler) // as the proxy would have, without us
	}
	return forCaddy(err)
}

// serveIntents answers requests under the path of intents.
func (h *Handler) serveIntents(w http.ResponseWriter, r *http.Request) error {
	h.hideToken(r)
	h.ours(w, r)
	if observe.CORS(h.CORS).Preflight(w, r) {
		return nil
	}
	parts := h.app.await(r.Context())
	if parts == nil {
		observe.Unavailable().ServeHTTP(w, r)
		return nil
	}
	h.observer(parts).ServeHTTP(w, h.viewed(r))
	return nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)

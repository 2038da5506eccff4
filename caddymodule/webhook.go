package caddymodule

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/keyring"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/webhook"
)

// Webhook tells somebody of the events of a job's intents by POST, signed as Standard
// Webhooks says, until it is taken or a day is over.
type Webhook struct {
	// Where to: an absolute URL. Can be {env.*} or {file.*}. Default: where a submit
	// says with the header Webhook-URL, among the handler's webhook_hosts.
	URL string `json:"url,omitempty"`

	// What messages are signed with: whsec_ and the base64 of 24 to 64 bytes. Can be
	// {env.*} or {file.*}. Required.
	Secret string `json:"secret,omitempty"`

	// Which events, without `intent.` in front: created, submitted, delivered,
	// in_progress, delivery_failed, completed, failed, canceled, timed_out. Default: the
	// last four.
	Events []string `json:"events,omitempty"`

	// Whether it may be at a private address, or reached without TLS. Default: false.
	AllowPrivate bool `json:"allow_private,omitempty"`
}

// ends are the events that a webhook is told of unless it says otherwise.
var ends = []intent.EventType{intent.TypeCompleted, intent.TypeFailed, intent.TypeCanceled, intent.TypeTimedOut}

// A hook is a compiled Webhook.
type hook struct {
	target webhook.Target // without a URL if requests name it
	events []intent.EventType
}

// hooks are those of one job: the engine's Teller, and where the sender looks up what
// the engine has named.
type hooks struct {
	fixed   map[string]*hook // by recipient
	named   *hook            // of requests; nil if they may not name any
	keyring func() *keyring.Keyring
}

// Recipients as they stand in messages: one of the config by a hash of its URL, so that
// no secret in a URL is in the store; one of a request sealed.
const (
	fixedRecipient = "config:"
	namedRecipient = "request:"
)

// hookField names what is sealed.
const hookField = "webhook url"

func compileWebhooks(all []*Webhook) (*hooks, error) {
	if len(all) == 0 {
		return nil, nil
	}
	compiled := &hooks{fixed: make(map[string]*hook)}
	for _, w := range all {
		h, err := w.compile()
		if err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
		if h.target.URL == "" {
			if compiled.named != nil {
				return nil, errors.New("webhook: two have no URL; one says how to tell those that requests name")
			}
			compiled.named = h
			continue
		}
		sum := sha256.Sum256([]byte(h.target.URL))
		id := fixedRecipient + hex.EncodeToString(sum[:12])
		if compiled.fixed[id] != nil {
			return nil, errors.New("webhook: one URL stands twice; write all its events in one")
		}
		compiled.fixed[id] = h
	}
	return compiled, nil
}

func (w *Webhook) compile() (*hook, error) {
	known := caddy.NewReplacer()
	h := &hook{target: webhook.Target{URL: known.ReplaceKnown(w.URL, ""), AllowPrivate: w.AllowPrivate}, events: ends}
	if w.URL != "" {
		if err := checkHookURL(h.target.URL, w.AllowPrivate); err != nil {
			return nil, err
		}
	}
	if w.Secret == "" {
		return nil, errors.New("secret: missing; " + webhook.ErrSecret.Error())
	}
	var err error
	if h.target.Secret, err = webhook.ParseSecret(strings.TrimSpace(known.ReplaceKnown(w.Secret, ""))); err != nil {
		return nil, fmt.Errorf("secret: %w", err) // and not the secret
	}
	if len(w.Events) > 0 {
		h.events = nil
	}
	for _, name := range w.Events {
		t := intent.EventType("intent." + name)
		if !slices.Contains(intent.EventTypes(), t) {
			return nil, fmt.Errorf("events: unknown %q; write some of %s", name, strings.ReplaceAll(list(intent.EventTypes()), "intent.", ""))
		}
		h.events = append(h.events, t)
	}
	return h, nil
}

// maxHookURL bounds the URL that a request names, in bytes.
const maxHookURL = 2 << 10

func checkHookURL(raw string, allowPrivate bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("its URL is not absolute; write for example https://hooks.example.com/intents")
	case u.User != nil:
		return errors.New("its URL has a user in it; the signature says who we are")
	case u.Scheme == "http" && !allowPrivate:
		return errors.New("its URL is not https; write `allow_private` if that is meant")
	case len(raw) > maxHookURL:
		return fmt.Errorf("its URL is longer than %d bytes", maxHookURL)
	}
	return nil
}

// Tell implements engine.Teller.
func (h *hooks) Tell(in *intent.Intent, t intent.EventType) []string {
	var to []string
	for id, fixed := range h.fixed {
		if slices.Contains(fixed.events, t) {
			to = append(to, id)
		}
	}
	if in.Hook != "" && h.named != nil && slices.Contains(h.named.events, t) {
		to = append(to, in.Hook)
	}
	slices.Sort(to)
	return to
}

// target finds the recipient of a message.
func (h *hooks) target(m *store.Message) (webhook.Target, error) {
	if fixed := h.fixed[m.To]; fixed != nil {
		return fixed.target, nil
	}
	sealed, ok := strings.CutPrefix(m.To, namedRecipient)
	if !ok || h.named == nil {
		return webhook.Target{}, webhook.ErrNoTarget
	}
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return webhook.Target{}, webhook.ErrNoTarget
	}
	plain, err := h.keyring().Open(m.Intent, hookField, raw)
	if err != nil {
		return webhook.Target{}, errors.New("its URL cannot be opened with this secret")
	}
	target := h.named.target
	target.URL = string(plain)
	return target, nil
}

// lookUp finds the recipient of a message as the config is now.
func lookUp(e *engine.Engine, m *store.Message) (webhook.Target, error) {
	job := e.Job(engine.JobName{Scope: m.Scope, Name: m.Job})
	if job == nil {
		return webhook.Target{}, webhook.ErrNoTarget
	}
	h, ok := job.Teller.(*hooks)
	if !ok {
		return webhook.Target{}, webhook.ErrNoTarget
	}
	return h.target(m)
}

// hookOf is the recipient that a submit names, as a function of the intent's id; nil
// for none. A job that takes none leaves the header to the backend.
func (s starting) hookOf() (func(intent.ID) string, *observe.Problem) {
	said := s.r.Header.Get("Webhook-Url")
	h, _ := s.job.Teller.(*hooks)
	if said == "" || h == nil || h.named == nil {
		return nil, nil
	}
	if err := checkHookURL(said, h.named.target.AllowPrivate); err != nil {
		return nil, observe.BadRequest("Webhook-URL: " + err.Error())
	}
	u, _ := url.Parse(said) // it was, just now
	if !slices.ContainsFunc(s.WebhookHosts, func(host string) bool { return isHookHost(host, u) }) {
		return nil, &observe.Problem{Status: http.StatusForbidden, Code: "webhook_host", Message: "Webhook-URL: this host is not told of intents"}
	}
	s.r.Header.Del("Webhook-Url") // the backend would tell it a second time
	return func(id intent.ID) string {
		return namedRecipient + base64.RawStdEncoding.EncodeToString(s.app.keys.Seal(id, hookField, []byte(said)))
	}, nil
}

// isHookHost reports whether an entry of webhook_hosts allows a URL. One without a port
// means the scheme's own.
func isHookHost(entry string, u *url.URL) bool {
	own := "443"
	if u.Scheme == "http" {
		own = "80"
	}
	host, port, err := net.SplitHostPort(entry)
	if err != nil { // no port
		host, port = strings.Trim(entry, "[]"), own
	}
	return strings.EqualFold(host, u.Hostname()) && port == cmp.Or(u.Port(), own)
}

// parseWebhook parses
//
//	webhook [<url>] {
//	    secret <whsec_...>
//	    events <names...>
//	    allow_private
//	}
func (p *jobParser) parseWebhook(d *caddyfile.Dispenser) error {
	w := new(Webhook)
	p.job.Webhooks = append(p.job.Webhooks, w)
	if d.NextArg() {
		w.URL = d.Val()
	}
	if d.NextArg() {
		return d.Errf("webhook: takes one URL, and %q is one more", d.Val())
	}
	return block{
		"secret":        textTo(&w.Secret),
		"events":        listTo(&w.Events, "events, for example completed failed"),
		"allow_private": flagTo(&w.AllowPrivate),
	}.parse(d, "webhook")
}

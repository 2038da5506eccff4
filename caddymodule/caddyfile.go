package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-intents/caddy-intents/engine"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("intents", parseApp)
	httpcaddyfile.RegisterHandlerDirective("intents", parseHandler)
	// After auth, encode and body limits, and before what answers for the backend.
	httpcaddyfile.RegisterDirectiveOrder("intents", httpcaddyfile.Before, "reverse_proxy")
}

// A block is a Caddyfile block by the words that may stand in it.
type block map[string]func(d *caddyfile.Dispenser) error

// parse reads the block that follows, if there is one. An unknown word is an error
// that lists the known ones; a word may stand once, unless it is in many.
func (b block) parse(d *caddyfile.Dispenser, of string, many ...string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		parse, ok := b[word]
		if !ok {
			return d.Errf("unknown word %q in %s; known are: %s", word, of, strings.Join(slices.Sorted(maps.Keys(b)), ", "))
		}
		if seen[word] && !slices.Contains(many, word) {
			return d.Errf("%s: stands twice in %s", word, of)
		}
		seen[word] = true
		if err := parse(d); err != nil {
			return err
		}
	}
	return nil
}

// with adds words to b.
func (b block) with(more block) block {
	maps.Copy(b, more)
	return b
}

// places remembers where the words of a block stand, for mistakes that show only
// when all of it is read.
type places struct {
	block caddyfile.Token
	words map[string]caddyfile.Token
}

func placesIn(block caddyfile.Token) places {
	return places{block, make(map[string]caddyfile.Token)}
}

// note makes every word of b remembered.
func (p places) note(b block) block {
	noting := make(block, len(b))
	for word, parse := range b {
		noting[word] = func(d *caddyfile.Dispenser) error {
			p.words[word] = d.Token()
			return parse(d)
		}
	}
	return noting
}

// locate adds the place to an error that begins with the word it is about.
func (p places) locate(err error) error {
	word, _, _ := strings.Cut(err.Error(), " ")
	at, ok := p.words[strings.TrimSuffix(word, ":")]
	if !ok {
		at = p.block
	}
	return fmt.Errorf("%w, at %s:%d", err, at.File, at.Line)
}

// parseApp parses the global option. Syntax:
//
//	intents {
//	    store     bolt [<path>] | memory | redis <urls...> { ... }
//	    retention <duration>
//	    secret    <current> [<previous>]
//	}
func parseApp(d *caddyfile.Dispenser, earlier any) (any, error) {
	if earlier != nil {
		return nil, d.Err("the global option intents stands twice")
	}
	d.Next() // "intents"
	if d.NextArg() {
		return nil, d.Errf("unexpected %q: jobs are configured with the directive intents in a site", d.Val())
	}
	var app App
	err := block{
		"store":     app.parseStore,
		"retention": durationTo(&app.Retention),
		"secret":    app.parseSecret,
	}.parse(d, "the global option intents")
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "intents", Value: caddyconfig.JSON(app, nil)}, nil
}

func (a *App) parseSecret(d *caddyfile.Dispenser) error {
	a.Secret = d.RemainingArgs()
	if len(a.Secret) == 0 {
		return d.Err("secret: missing; write for example `secret {file./run/secrets/intents}`")
	}
	if _, err := resolveSecrets(a.Secret); err != nil && !strings.Contains(strings.Join(a.Secret, ""), "{") {
		return d.WrapErr(err)
	}
	return nil
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("store: missing; write `store bolt <path>`, `store redis <url>` or `store memory`")
	}
	name := d.Val()
	if _, err := caddy.GetModule("intents.stores." + name); err != nil {
		return d.Errf("store: unknown %q; known are: bolt, memory, redis", name)
	}
	mod, err := caddyfile.UnmarshalModule(d, "intents.stores."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(mod, "store", name, nil)
	return nil
}

// parseHandler parses the directive. Syntax:
//
//	intents [<matcher>] [<upstreams...>] {
//	    backend {
//	        <directives>
//	    }
//	    name       <name>
//	    path       <path>
//	    heartbeat  <duration>
//	    owner      <placeholder>
//	    cors       <origins...>
//	    offload    on|off|<duration>
//	    adopt      on|off
//	    axp
//	    allow_host <hosts...>
//	    webhook_hosts <hosts...>
//	    limits {
//	        in_flight <polls>
//	        rate      <polls a second>
//	        body      <size>
//	        observers <streams>
//	        per_owner <streams>
//	        per_intent <streams>
//	    }
//	    job <name> {
//	        ...
//	    }
//	}
//
// Upstreams are those of reverse_proxy; they and a backend block exclude each
// other. For the job block see jobBlock.
func parseHandler(file httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	d := file.Dispenser
	d.Next() // "intents"
	p := handlerParser{file: file, handler: new(Handler), places: placesIn(d.Token())}
	if upstreams := d.RemainingArgs(); len(upstreams) > 0 {
		if err := p.parseUpstreams(d, upstreams); err != nil {
			return nil, err
		}
	}
	h := p.handler
	err := p.places.note(block{
		"backend":       p.parseBackend,
		"name":          textTo(&h.Name),
		"path":          textTo(&h.Path),
		"heartbeat":     durationTo(&h.Heartbeat),
		"owner":         textTo(&h.Owner),
		"cors":          listTo(&h.CORS, "origins, for example https://app.example.com"),
		"axp":           flagTo(&h.AXP),
		"allow_host":    p.parseAllowHost,
		"webhook_hosts": listTo(&h.WebhookHosts, "hosts, for example hooks.example.com"),
		"limits":        p.parseLimits,
		"job":           p.parseJob,
	}.with(h.OwnURLs.words())).parse(d, "intents", "job", "allow_host")
	if err != nil {
		return nil, err
	}
	return h, p.check()
}

// A handlerParser makes a handler of one directive.
type handlerParser struct {
	file    httpcaddyfile.Helper
	handler *Handler
	jobs    []*jobParser
	places  places
}

func (p *handlerParser) parseUpstreams(d *caddyfile.Dispenser, upstreams []string) error {
	raw, err := proxyTo(upstreams, d.Token())
	p.handler.BackendRaw = raw
	return err
}

// proxyTo is a reverse_proxy to upstreams that are written at a place.
func proxyTo(upstreams []string, at caddyfile.Token) (json.RawMessage, error) {
	tokens := []caddyfile.Token{{File: at.File, Line: at.Line, Text: "reverse_proxy"}}
	for _, u := range upstreams {
		tokens = append(tokens, caddyfile.Token{File: at.File, Line: at.Line, Text: u})
	}
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil), nil
}

func (p *handlerParser) parseBackend(d *caddyfile.Dispenser) error {
	if p.handler.BackendRaw != nil {
		return d.Err("backend: there are upstreams after `intents` already; write one or the other")
	}
	sub, err := httpcaddyfile.ParseSegmentAsSubroute(p.file.WithDispenser(d.NewFromNextSegment()))
	if err != nil {
		return err
	}
	p.handler.BackendRaw = caddyconfig.JSONModuleObject(sub, "handler", "subroute", nil)
	return nil
}

func (p *handlerParser) parseAllowHost(d *caddyfile.Dispenser) error {
	hosts := d.RemainingArgs()
	if len(hosts) == 0 {
		return d.Err("allow_host: missing; write the hosts that the backend's URLs may name")
	}
	for _, host := range hosts {
		if strings.ContainsAny(host, "/@?#") {
			return d.Errf("allow_host: %q is not a host; write only the host, for example jobs.internal.example", host)
		}
	}
	p.handler.AllowHost = append(p.handler.AllowHost, hosts...)
	return nil
}

func (p *handlerParser) parseLimits(d *caddyfile.Dispenser) error {
	l := new(Limits)
	p.handler.Limits = l
	return block{
		"in_flight":  countTo(&l.InFlight),
		"rate":       numberTo(&l.Rate),
		"body":       sizeTo(&l.Body),
		"observers":  countTo(&l.Observers),
		"per_owner":  countTo(&l.PerOwner),
		"per_intent": countTo(&l.PerIntent),
	}.parse(d, "limits")
}

func (p *handlerParser) parseJob(d *caddyfile.Dispenser) error {
	j := newJobParser(d.Token())
	if err := j.parse(d); err != nil {
		return err
	}
	p.jobs = append(p.jobs, j)
	p.handler.Jobs = append(p.handler.Jobs, j.job)
	return nil
}

// check compiles what was read, so that every mistake is told with its line. The
// handler that is provisioned from the JSON checks again.
func (p *handlerParser) check() error {
	read := p.handler
	h := &Handler{Name: read.Name, BackendRaw: read.BackendRaw, Path: read.Path, Heartbeat: read.Heartbeat,
		AllowHost: read.AllowHost, WebhookHosts: read.WebhookHosts, OwnURLs: read.OwnURLs, AXP: read.AXP, Owner: read.Owner, CORS: read.CORS, Jobs: read.Jobs}
	if read.Limits != nil {
		h.Limits = new(*read.Limits)
	}
	h.fillDefaults() // not those of p.handler: what was not written stays out of the JSON
	if err := h.check(); err != nil {
		return p.places.locate(err)
	}
	for _, j := range p.jobs {
		if err := j.check(h); err != nil {
			return err
		}
		if err := p.unique(j, h); err != nil {
			return err
		}
	}
	return nil
}

// unique refuses a job that another directive of this Caddyfile has with another
// meaning. Provision finds that too, but without lines.
func (p *handlerParser) unique(j *jobParser, h *Handler) error {
	const key = "intents.jobs"
	all, ok := p.file.State[key].(map[engine.JobName]jobAt)
	if !ok {
		all = make(map[engine.JobName]jobAt)
		p.file.State[key] = all
	}
	name := engine.JobName{Scope: h.Name, Name: j.job.Name}
	meant := h.meaning(j.job, h.BackendRaw)
	if other, ok := all[name]; ok && !bytes.Equal(other.meant, meant) {
		return j.places.locate(fmt.Errorf("job %q is configured with another meaning at %s:%d: give one handler another `name`, or the jobs different names",
			name.Name, other.token.File, other.token.Line))
	}
	all[name] = jobAt{j.places.block, meant}
	return nil
}

type jobAt struct {
	token caddyfile.Token
	meant []byte
}

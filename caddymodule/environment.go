package caddymodule

import (
	"net/http"
	"regexp"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// An environment is what Caddy knows when a config is loaded: {env.*}, {file.*}.
type environment struct {
	known   *caddy.Replacer
	missing func(header, placeholder string)
}

// resolve replaces it in the headers of our requests, which is where tokens are.
func (e environment) resolve(s adapter.Spec) adapter.Spec {
	endpoints := append(fetchOf(&s.Result), &s.Status, &s.Cancel)
	if s.Then != nil {
		hop := *s.Then
		s.Then = &hop
		endpoints = append(endpoints, append(fetchOf(&hop.Result), &hop.Status, &hop.Cancel)...)
	}
	for _, endpoint := range endpoints {
		if *endpoint == nil {
			continue
		}
		resolved := **endpoint
		resolved.Header = e.replaced(resolved.Header)
		*endpoint = &resolved
	}
	if s.Lookup != nil {
		lookup := *s.Lookup
		lookup.Header = e.replaced(lookup.Header)
		s.Lookup = &lookup
	}
	if s.Poll != nil && s.Poll.Batch != nil {
		poll, batch := *s.Poll, *s.Poll.Batch
		batch.Header = e.replaced(batch.Header)
		poll.Batch = &batch
		s.Poll = &poll
	}
	return s
}

// unheard is for when a job is compiled for its errors only.
func unheard(string, string) {}

var placeholder = regexp.MustCompile(`\{([^{}]+)\}`)

func (e environment) replaced(h http.Header) http.Header {
	h = h.Clone()
	for name, values := range h {
		for i, v := range values {
			for _, found := range placeholder.FindAllStringSubmatch(v, -1) {
				if value, known := e.known.GetString(found[1]); known && value == "" {
					e.missing(name, found[0])
				}
			}
			values[i] = e.known.ReplaceKnown(v, "")
		}
	}
	return h
}

// fetchOf is the request in a result, which becomes a copy.
func fetchOf(r **adapter.Result) []**adapter.Endpoint {
	if *r == nil {
		return nil
	}
	*r = new(**r)
	return []**adapter.Endpoint{&(*r).Fetch}
}

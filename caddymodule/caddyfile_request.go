package caddymodule

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// A request to the backend is written as a line with method and target, and a block with
// what else belongs to it.

// isMethod tells a method from a path: upper-case letters.
func isMethod(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// methodAndTarget reads `[<method>] [<target>]`.
func methodAndTarget(d *caddyfile.Dispenser) (method, target string, err error) {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) > 0 && isMethod(args[0]) {
		method, args = args[0], args[1:]
	}
	switch len(args) {
	case 0:
	case 1:
		target = args[0]
	default:
		err = d.Errf("%s: %q is too much; write a method in upper case and a path", word, args[1])
	}
	return method, target, err
}

func endpointTo(to **adapter.Endpoint) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		method, target, err := methodAndTarget(d)
		if err != nil {
			return err
		}
		*to = &adapter.Endpoint{Method: method, Target: target}
		return requestBlock(*to).parse(d, word, "header")
	}
}

// requestBlock has the words that every request of ours can have.
func requestBlock(e *adapter.Endpoint) block {
	return block{
		"header": func(d *caddyfile.Dispenser) error { return parseHeader(d, e) },
		"body":   textTo(&e.Body),
	}
}

func cancelTo(to **adapter.Endpoint) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		method, target, err := methodAndTarget(d)
		if err != nil {
			return err
		}
		*to = &adapter.Endpoint{Method: method, Target: target}
		return requestBlock(*to).with(block{
			"accept": codesTo(&(*to).Accept),
			"over":   codesTo(&(*to).Over),
		}).parse(d, "cancel", "header")
	}
}

func codesTo(to *[]int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s: the codes are missing; write for example `%s 202 204`", word, word)
		}
		for _, arg := range args {
			code, err := strconv.Atoi(arg)
			if err != nil {
				return d.Errf("%s: %q is not a status code; write for example 202", word, arg)
			}
			*to = append(*to, code)
		}
		return nil
	}
}

func parseHeader(d *caddyfile.Dispenser, e *adapter.Endpoint) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("header: write `header <name> <value>`; a value with spaces stands in quotes")
	}
	if e.Header == nil {
		e.Header = make(http.Header)
	}
	e.Header.Add(args[0], args[1])
	return nil
}

func batchTo(to **adapter.Batch) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		method, target, err := methodAndTarget(d)
		if err != nil {
			return err
		}
		b := &adapter.Batch{Method: method, Target: target}
		*to = b
		var request adapter.Endpoint
		err = requestBlock(&request).with(block{
			"max":      countTo(&b.Max),
			"elements": textTo(&b.Elements),
			"id":       textTo(&b.ID),
			"keyed":    textTo(&b.Keyed),
		}).parse(d, "batch", "header")
		b.Header, b.Body = request.Header, request.Body
		return err
	}
}

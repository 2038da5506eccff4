package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-intents/caddy-intents" // registers the plugin
)

func playCaddy([]string) error {
	caddycmd.Main()
	return nil
}

// A caddyProcess is a real Caddy of its own.
type caddyProcess struct {
	*process
	bench *bench
	name  string
	addr  string
	admin string
	redis string // where its store is; "" for a file
}

// startCaddy runs Caddy with a site block, in which TO stands for a backend's
// address, and returns when it serves.
func (b *bench) startCaddy(ctx context.Context, name, block string, to *backend) (*caddyProcess, error) {
	return b.startCaddyOn(ctx, "", name, block, to)
}

// startCaddyOn is startCaddy with a store in a Redis.
func (b *bench) startCaddyOn(ctx context.Context, redis, name, block string, to *backend) (*caddyProcess, error) {
	c := &caddyProcess{bench: b, name: name, redis: redis}
	var err error
	if c.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if c.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	file := b.path(name + ".caddyfile")
	if err := os.WriteFile(file, []byte(c.config(block, to)), 0o600); err != nil {
		return nil, err
	}
	return c, c.run(ctx, file)
}

func (c *caddyProcess) config(block string, to *backend) string {
	text := `{
	admin ADMIN
	persist_config off
	log {
		level ERROR
	}
	intents {
		store bolt STORE
	}
}
http://:PORT {
	bind 127.0.0.1
	BLOCK
}
`
	if c.redis != "" {
		text = strings.Replace(text, "store bolt STORE", "store redis redis://"+c.redis+"\n\t\tsecret 0123456789abcdef0123456789abcdef", 1)
	}
	block = strings.ReplaceAll(block, "TO", to.addr)
	_, port, _ := net.SplitHostPort(c.addr)
	return strings.NewReplacer("ADMIN", c.admin, "STORE", c.bench.path(c.name+".db"), "PORT", port, "BLOCK", block).Replace(text)
}

// run returns when Caddy serves: it calls back when it does.
func (c *caddyProcess) run(ctx context.Context, file string) error {
	callback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer callback.Close()
	c.process, err = c.bench.command(ctx, c.name, "caddy", "run", "--config", file, "--adapter", "caddyfile",
		"--pingback", callback.Addr().String())
	if err != nil {
		return err
	}
	c.cmd.Stdin = strings.NewReader(rand.Text()) // what it is to say when it calls back
	if err := c.cmd.Start(); err != nil {
		return err
	}
	_ = callback.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	conn, err := callback.Accept()
	if err != nil {
		return fmt.Errorf("waiting for Caddy %s: %w", c.name, err)
	}
	return conn.Close()
}

// freeAddr is an address that nobody listens on just now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// profile takes a CPU profile of the next d, and a heap profile after it, if the
// bench is to. It returns at once; wait returns when they are written.
func (c *caddyProcess) profile(d time.Duration) (wait func()) {
	if c.bench.profile == "" {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		path := filepath.Join(c.bench.profile, c.name)
		err := c.save(path+".cpu", profileOf(d))
		if err := errors.Join(err, c.save(path+".heap", "heap?gc=1")); err != nil {
			warn("profiling Caddy", err)
		}
	}()
	return func() { <-done }
}

// profileOf is where the admin endpoint has a CPU profile of the next d.
func profileOf(d time.Duration) string {
	return fmt.Sprintf("profile?seconds=%d", max(1, int(d.Seconds())))
}

// save writes what the admin endpoint has to tell of the process to a file.
func (c *caddyProcess) save(path, from string) error {
	resp, err := http.Get("http://" + c.admin + "/debug/pprof/" + from)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, resp.Body)
	return errors.Join(err, file.Close())
}

// bareStream is what an event stream in a Caddy handler costs at least: it writes
// one frame and then a sign of life every four seconds, or, together with all others,
// another frame at each full second.
type bareStream struct {
	Together bool `json:"together,omitempty"`
}

func init() {
	caddy.RegisterModule(bareStream{})
	httpcaddyfile.RegisterHandlerDirective("bench_stream", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return bareStream{Together: h.Next() && h.NextArg()}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("bench_stream", httpcaddyfile.Before, "reverse_proxy")
}

func (bareStream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_stream", New: func() caddy.Module { return new(bareStream) }}
}

func (b bareStream) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store, no-transform")
	rc := http.NewResponseController(w)
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := "id: 1\ndata: {}\n\n"
	for {
		if _, err := io.WriteString(w, next); err != nil {
			return nil
		}
		if err := rc.Flush(); err != nil {
			return nil
		}
		timer.Reset(b.pause(time.Now()))
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return nil
		}
		if next = ":\n"; b.Together {
			next = usualFrame
		}
	}
}

func (b bareStream) pause(now time.Time) time.Duration {
	if b.Together {
		return now.Truncate(time.Second).Add(time.Second).Sub(now)
	}
	return heartbeat
}

// usualFrame is of the length of ours.
const usualFrame = `id: 17
event: intent.in_progress
data: {"intent_id":"6925c1b2-00a1-8d3e-9f00-2b1c3d4e5f60","seq":17,"event_type":"intent.in_progress","status":"IN_PROGRESS","at":"2026-01-02T15:04:05.123456Z","details":{"progress":40,"message":"reading row 17"}}

`

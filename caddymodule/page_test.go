//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/browsertest"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
)

// A page is what a real browser has open, from a real Caddy that can be killed.
type page struct {
	*browsertest.Browser
	*process
	scheme, proto, port string
	log                 string // file of what Caddy was asked
	resumed             int    // requests in it before the last kill
}

// newPage starts Caddy with the sites of a Caddyfile, and a browser with an empty page
// of the first. SCHEME and PORT stand for what the protocol has, TO for the backend.
func newPage(t *testing.T, proto, sites string) *page {
	p := &page{process: newProcess(t), proto: proto, log: filepath.Join(t.TempDir(), "access.log")}
	p.scheme = map[string]string{"HTTP/1.1": "http", "HTTP/2.0": "https"}[proto]
	tls := map[string]string{"http": "", "https": "tls internal"}[p.scheme]
	_, port, err := net.SplitHostPort(caddytest.FreeAddr(t))
	require.NoError(t, err)
	p.port = port
	p.Configure(strings.NewReplacer("ADMIN", p.Admin, "SCHEME", p.scheme, "PORT", p.port, "LOG", p.log, "STORE", p.store,
		"TLS", tls, "TO", p.to).Replace(`{
	admin ADMIN
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	intents {
		store bolt STORE
	}
}
(logged) {
	TLS
	log {
		output file LOG
	}
}
` + sites))
	p.Start()
	p.Browser = browsertest.Open(t)
	return p
}

// at is a URL of a host of the sites.
func (p *page) at(host, path string) string { return p.scheme + "://" + host + ":" + p.port + path }

// open loads a page that does nothing by itself, and gives it what the tests need.
func (p *page) open(host string) {
	p.t.Helper()
	p.Visit(p.at(host, "/v1/intents/observe.js"))
	p.Run(means, nil)
}

// killWhile kills Caddy, and starts it when something has happened.
func (p *page) killWhile(happens func()) {
	p.t.Helper()
	p.Kill()
	p.resumed = len(p.asked("/"))
	happens()
	p.Start()
}

// means are the words that the scripts of the tests are written in.
const means = `
window.jobs = []
window.until = async what => {
	for (const begun = Date.now(); !what(); await new Promise(done => setTimeout(done, 20))) {
		if (Date.now() - begun > 15000) throw new Error(JSON.stringify(jobs))
	}
}
window.submit = async () => (await fetch("/reports/generate", { method: "POST", body: "{}" })).json()
window.names = ["created", "submitted", "delivered", "in_progress", "completed", "reset"].map(name => "intent." + name)
// For longer than an EventSource would be asked to wait after a cut.
window.aWhile = () => new Promise(done => setTimeout(done, 3000))
`

// An asked is a request in the access log. One that a kill cut is in no log.
type asked struct {
	Status  int
	Request struct {
		Method, Host, URI, Proto string
		RemotePort               string `json:"remote_port"`
	}
}

// asked returns the requests whose path has this prefix, and checks their protocol.
func (p *page) asked(prefix string) []asked {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	require.NoError(p.t, err)
	var found []asked
	for line := range strings.Lines(string(text)) {
		var a asked
		require.NoError(p.t, json.Unmarshal([]byte(line), &a), line)
		if strings.HasPrefix(a.Request.URI, prefix) {
			require.Equal(p.t, p.proto, a.Request.Proto, a.Request.URI)
			found = append(found, a)
		}
	}
	return found
}

// connections counts those that requests came on.
func connections(requests []asked) int {
	ports := make(map[string]bool)
	for _, a := range requests {
		ports[a.Request.RemotePort] = true
	}
	return len(ports)
}

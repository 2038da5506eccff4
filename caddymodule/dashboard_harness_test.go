//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/browsertest"
)

// A board is the dashboard of a real Caddy in a real browser.
type board struct {
	*browsertest.Browser
	*process
}

// newBoard starts Caddy with the jobs in a site of their own, and a browser. As a browser
// tells the admin endpoint of no origin when somebody writes its address, that has to be
// an origin that may.
func newBoard(t *testing.T, site string) *board {
	b := &board{process: newProcess(t)}
	b.Configure(strings.NewReplacer("ADMIN", b.Admin, "ADDR", b.addr, "TO", b.to, "STORE", b.store).Replace(`{
	admin ADMIN {
		origins ADMIN ""
	}
	persist_config off
	intents {
		store bolt STORE
	}
}
http://ADDR {
` + site + `
}
`))
	b.Start()
	b.Browser = browsertest.Open(t)
	return b
}

// at is an address of the admin API.
func (b *board) at(path string) string { return "http://" + b.Admin + "/intents/" + path }

// open loads the dashboard and waits until it shows something.
func (b *board) open(hash string) {
	b.t.Helper()
	b.Visit(b.at("dashboard" + hash))
	b.wait(`byID("live").dataset.state === "live" && byID("jobs-rows").rows.length`)
}

// wait returns when an expression is true in the page.
func (b *board) wait(what string) {
	b.t.Helper()
	b.Run(`
		const byID = id => document.getElementById(id), text = id => byID(id).innerText
		for (const begun = Date.now(); !(`+what+`); await new Promise(done => setTimeout(done, 20))) {
			if (Date.now() - begun > 15000) throw new Error(args[0] + "\n" + document.body.innerText)
		}`, nil, what)
}

// value is what an expression is in the page.
func (b *board) value(what string, into any, args ...any) {
	b.t.Helper()
	b.Run(`const byID = id => document.getElementById(id); return `+what, into, args...)
}

// click clicks on what a selector finds.
func (b *board) click(selector string) {
	b.t.Helper()
	b.Run(`document.querySelector(args[0]).click()`, nil, selector)
}

// choose sets a field of the filter.
func (b *board) choose(field, value string) {
	b.t.Helper()
	b.Run(`const field = document.getElementById("filter").elements[args[0]]
		field.value = args[1]
		field.dispatchEvent(new Event("change", { bubbles: true }))`, nil, field, value)
}

// keep writes what the page looks like to a file among the artifacts of the test.
func (b *board) keep(name string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(filepath.Join(b.t.ArtifactDir(), name), b.Screenshot(), 0o600))
}

// asks is one request to the admin API as a browser sends it for a page.
func (b *board) asks(method, path string, headers ...string) (int, map[string]any) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.at(path), nil)
	require.NoError(b.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(b.t, err)
	var answer map[string]any
	_ = json.Unmarshal([]byte(text(b.t, resp)), &answer) // of a page there is none
	return resp.StatusCode, answer
}

// heap is how much the page's scripts use, in bytes, what is garbage included.
func (b *board) heap() (used int) {
	b.t.Helper()
	var answer struct{ UsedSize float64 }
	b.DevTools("Runtime.getHeapUsage", map[string]any{}, &answer)
	return int(answer.UsedSize)
}

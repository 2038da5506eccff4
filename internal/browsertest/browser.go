// Package browsertest drives a real Chromium for tests, through chromedriver and the
// WebDriver protocol (W3C), which is plain JSON over HTTP.
package browsertest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// flags make a Chromium that shows nothing, asks nobody and believes any certificate.
// HTTP/3 is off so that a test knows which protocol it tests.
var flags = []string{
	"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--ignore-certificate-errors", "--window-size=1100,800",
}

var onPort = regexp.MustCompile(`started successfully on port (\d+)`)

// A Browser is one Chromium with one page and a profile of its own, which the driver
// makes and removes. It ends with the test.
type Browser struct {
	t       *testing.T
	session string // URL
}

// Open starts a Browser.
func Open(t *testing.T) *Browser {
	t.Helper()
	port := ""
	for tries := 0; port == "" && tries < 20; tries++ {
		port = startDriver(t)
	}
	require.NotEmpty(t, port, "chromedriver does not say where it is")

	b := &Browser{t: t, session: "http://127.0.0.1:" + port + "/session"}
	var created struct{ SessionID string }
	b.ask(http.MethodPost, "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"acceptInsecureCerts": true,
		"timeouts":            map[string]int{"script": 20_000},
		"goog:chromeOptions":  map[string]any{"args": flags},
		"goog:loggingPrefs":   map[string]string{"browser": "WARNING"},
	}}}, &created)
	b.session += "/" + created.SessionID
	t.Cleanup(func() { b.ask(http.MethodDelete, "", nil, nil) }) // before its driver is killed
	return b
}

// startDriver starts a chromedriver that ends with the test, and returns its port: "" if it
// has exited, as it does if somebody has the port that it chose on the other of IPv4 and
// IPv6.
func startDriver(t *testing.T) (port string) {
	t.Helper()
	driver := exec.Command("chromedriver", "--port=0")
	out, err := driver.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, driver.Start())
	t.Cleanup(func() {
		_ = driver.Process.Kill()
		_ = driver.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if said := onPort.FindStringSubmatch(lines.Text()); said != nil {
			go io.Copy(io.Discard, out) // ends with the driver
			return said[1]
		}
	}
	return ""
}

// ask sends one command, and reads the value of its answer.
func (b *Browser) ask(method, command string, args, value any) {
	b.t.Helper()
	var body []byte // none without arguments: "null" is refused
	if args != nil {
		var err error
		body, err = json.Marshal(args)
		require.NoError(b.t, err)
	}
	r, err := http.NewRequest(method, b.session+command, bytes.NewReader(body))
	require.NoError(b.t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	require.Equal(b.t, http.StatusOK, resp.StatusCode, "%s", text)
	if value != nil {
		require.NoError(b.t, json.Unmarshal(text, &struct{ Value any }{value}), "%s", text)
	}
}

// Visit loads a page.
func (b *Browser) Visit(url string) {
	b.t.Helper()
	b.ask(http.MethodPost, "/url", map[string]string{"url": url}, nil)
}

// Run runs the body of an async function in the page, with its arguments as `args`,
// and reads what it returns into value, if that is not nil.
func (b *Browser) Run(body string, value any, args ...any) {
	b.t.Helper()
	var answer struct {
		Returned json.RawMessage
		Thrown   string
	}
	b.ask(http.MethodPost, "/execute/async", map[string]any{
		"script": `const [args, done] = arguments
			;(async () => {` + body + `})().then(value => done({ returned: value ?? null }), problem => done({ thrown: String(problem.stack) }))`,
		"args": []any{append([]any{}, args...)},
	}, &answer)
	require.Empty(b.t, answer.Thrown, "the page threw")
	if value != nil {
		require.NoError(b.t, json.Unmarshal(answer.Returned, value))
	}
}

// Screenshot is what the page looks like, as PNG.
func (b *Browser) Screenshot() []byte {
	b.t.Helper()
	var encoded string
	b.ask(http.MethodGet, "/screenshot", nil, &encoded)
	png, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(b.t, err)
	return png
}

// Press presses keys one after another, as a user does: letters, or those of the private
// use area that WebDriver names keys by.
func (b *Browser) Press(keys ...string) {
	b.t.Helper()
	var actions []map[string]string
	for _, key := range keys {
		actions = append(actions, map[string]string{"type": "keyDown", "value": key}, map[string]string{"type": "keyUp", "value": key})
	}
	b.ask(http.MethodPost, "/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": actions}}}, nil)
}

// The keys that are no letters.
const (
	Tab    = "\ue004"
	Enter  = "\ue007"
	Escape = "\ue00c"
	Down   = "\ue015"
)

// Complaints are what the browser has said about its pages since they were read last:
// scripts that threw, requests that failed, and what a policy forbade.
func (b *Browser) Complaints() (said []string) {
	b.t.Helper()
	var entries []struct{ Message string }
	b.ask(http.MethodPost, "/se/log", map[string]string{"type": "browser"}, &entries)
	for _, entry := range entries {
		said = append(said, entry.Message)
	}
	return said
}

// DevTools sends a command of the Chrome DevTools protocol, and reads its answer into
// value, if that is not nil.
func (b *Browser) DevTools(command string, params, value any) {
	b.t.Helper()
	b.ask(http.MethodPost, "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, value)
}

// Look has the page seen on a screen of this size, by somebody who likes it "light" or
// "dark".
func (b *Browser) Look(width, height int, scheme string) {
	b.t.Helper()
	b.DevTools("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.DevTools("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

//go:build e2e

package caddyintents_test

import (
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// TestConsoleSessionsOfTheReadmeAreReal runs every command of the README's console
// blocks against the repository's Caddyfile, and compares what is printed, but for
// ids and times.
func TestConsoleSessionsOfTheReadmeAreReal(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, blocks)
	addr := startRepositoryCaddyfile(t)
	c := console{addr: addr, ids: make(map[string]string)}
	for _, block := range blocks {
		for _, session := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(session, "\n")
			got, err := exec.Command("sh", "-c", c.ours(command)).Output()
			require.NoError(t, err, command)
			require.Equal(t, strings.TrimSpace(anyTime(c.ours(want, string(got)))), strings.TrimSpace(anyTime(string(got))), command)
		}
	}
}

// A console knows what stands in the README for what is here.
type console struct {
	addr string
	ids  map[string]string // ours by the README's
}

var (
	uuid  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times = regexp.MustCompile(`"at":"[^"]*"|retry: 2\d\d\d\b|retry: 1\d\d\d\b`)
)

// ours replaces the README's address and ids. An id that is new stands for the
// first new one in what was printed.
func (c console) ours(text string, printed ...string) string {
	text = strings.ReplaceAll(text, "localhost:8080", c.addr)
	return uuid.ReplaceAllStringFunc(text, func(id string) string {
		if _, ok := c.ids[id]; !ok && len(printed) > 0 {
			c.ids[id] = uuid.FindString(printed[0])
		}
		return c.ids[id]
	})
}

func anyTime(text string) string { return times.ReplaceAllString(text, "<time>") }

func startRepositoryCaddyfile(t *testing.T) string {
	backend := legacytest.New()
	backend.EveryJobSays(legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	server := httptest.NewServer(backend)
	t.Cleanup(server.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	t.Setenv("INTENTS_ADMIN", "off")
	t.Setenv("INTENTS_LISTEN", "http://"+addr)
	t.Setenv("INTENTS_BACKEND", server.Listener.Addr().String())
	t.Setenv("INTENTS_STORE", filepath.Join(t.TempDir(), "intents.db"))
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	text, err := os.ReadFile("Caddyfile")
	require.NoError(t, err)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
	require.NoError(t, err)
	require.NoError(t, caddy.Load(config, true))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	return addr
}

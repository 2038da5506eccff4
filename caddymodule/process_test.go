//go:build e2e

package caddymodule_test

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// A process is a real Caddy of its own, in front of a backend in this one, which
// survives it.
type process struct {
	site
	*caddytest.Process
}

func newProcess(t *testing.T) *process {
	p := &process{Process: caddytest.NewProcess(t)}
	p.site = site{t: t, backend: legacytest.New(), addr: caddytest.FreeAddr(t), store: filepath.Join(t.TempDir(), "intents.db")}
	server := httptest.NewServer(p.backend)
	t.Cleanup(server.Close)
	p.to = server.Listener.Addr().String()
	return p
}

// configure writes the Caddyfile; block is as for site.config.
func (p *process) configure(block string) {
	p.t.Helper()
	text := "{\n\tadmin ADMIN\n\tpersist_config off\n\tintents {\n\t\tstore bolt STORE\n\t}\n}\nhttp://ADDR {\n" + block + "\n}\n"
	p.Configure(strings.NewReplacer("ADMIN", p.Admin, "ADDR", p.addr, "TO", p.to, "STORE", p.store).Replace(text))
}

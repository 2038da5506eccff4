//go:build backends

package backends_test

import (
	"encoding/json"
	"net"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
)

// TestAria2 has one URL for everything, POST for everything, and its own block.
func TestAria2(t *testing.T) {
	dir, addr := t.TempDir(), caddytest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	aria2 := func() *server {
		server := start(t, exec.Command("aria2/start", dir, port))
		server.serves("tcp", addr)
		return server
	}
	first := aria2()
	web := httptest.NewServer(files())
	t.Cleanup(web.CloseClientConnections)
	t.Cleanup(web.Close)
	s := serve(t, "aria2", "ARIA2="+addr)
	var server struct{ Result struct{ Version string } }
	s.read(&server, "POST", "/jsonrpc", call(t, "aria2.getVersion"))
	t.Log("aria2", server.Result.Version)

	well := s.submit("/jsonrpc", call(t, "aria2.addUri", []string{web.URL + "/file"}))
	require.Contains(t, string(well.ends(intent.Completed).Result), filepath.Join(dir, "file"))

	ill := s.submit("/jsonrpc", call(t, "aria2.addUri", []string{web.URL + "/nothing"}))
	require.Equal(t, "Resource not found", ill.ends(intent.Failed).Error.Message)

	long := s.submit("/jsonrpc", call(t, "aria2.addUri", []string{web.URL + "/slow/one"}))
	long.until(func(e intent.Event) bool { return e.Details.Progress != nil && *e.Details.Progress > 0 })
	head, _ := s.ask("POST", "/jsonrpc", call(t, "aria2.remove", long.jobID))
	require.Empty(t, head.Get("Intent-Id"), "what answers with an id is not always a submit")
	long.ends(intent.Canceled)

	lost := s.submit("/jsonrpc", call(t, "aria2.addUri", []string{web.URL + "/slow/two"}))
	lost.runs()
	first.kill()
	aria2() // it remembers nothing
	require.Equal(t, intent.CodeJobLost, lost.ends(intent.Failed).Error.Code)
}

// call is a call in JSON-RPC.
func call(t *testing.T, method string, params ...any) string {
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": "example", "method": method, "params": append([]any{}, params...)})
	require.NoError(t, err)
	return string(text)
}

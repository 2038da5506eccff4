//go:build e2e

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"

	_ "github.com/caddy-intents/caddy-intents"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// asClient in the environment makes the test binary the client in Go.
const asClient = "INTENTS_TEST_AS_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(asClient) != "" {
		main()
		return
	}
	caddytest.Main(m, caddycmd.Main)
}

// page does with the script that we serve what the other clients do.
const page = `import { observe } from "./observe.mjs"
let [url, body, cancel] = process.argv.slice(2)
const answer = await fetch(url, { method: "POST", body })
const stream = new URL((await answer.json()).observe_url, url)
const last = await observe(stream, {
	headers: { "X-Page": "yes" },
	onEvent({ seq, status }) {
		console.log(seq, status)
		if (cancel && status === "IN_PROGRESS") fetch(stream.href.split("/events/stream")[0], { method: "DELETE" })
	},
})
process.exitCode = last.status === "COMPLETED" ? 0 : 1
`

// writePage writes the page and the script that it needs, as served.
func (f front) writePage(t *testing.T) (file string) {
	t.Helper()
	resp, err := http.Get(strings.Replace(f.submit, "/reports/generate", "/v1/intents/observe.js", 1))
	require.NoError(t, err)
	defer resp.Body.Close()
	script, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "observe.mjs"), script, 0o600))
	file = filepath.Join(dir, "page.mjs")
	require.NoError(t, os.WriteFile(file, []byte(page), 0o600))
	return file
}

// commands are how each client is started, by the name of its file.
func (f front) commands(t *testing.T) map[string][]string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "Client.exe")
	out, err := exec.CommandContext(t.Context(), "mcs", "-out:"+exe, "Client.cs").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return map[string][]string{
		"client.go":   {os.Args[0]},
		"client.py":   {"python3", "client.py"},
		"client.mjs":  {"node", "client.mjs"},
		"Client.java": {"java", "Client.java"},
		"Client.cs":   {"mono", exe},
		"observe.js":  {"node", f.writePage(t)},
	}
}

// A front is a real Caddy with the plugin before a scripted backend that outlives it.
type front struct {
	*caddytest.Process
	backend *legacytest.Backend
	submit  string // URL of the job's submit
}

func newFront(t *testing.T) front {
	f := front{Process: caddytest.NewProcess(t), backend: legacytest.New()}
	server := httptest.NewServer(f.backend)
	t.Cleanup(server.Close)
	addr := caddytest.FreeAddr(t)
	f.submit = "http://" + addr + "/reports/generate"
	f.Configure(strings.NewReplacer("ADMIN", f.Admin, "ADDR", addr, "TO", server.Listener.Addr().String(),
		"STORE", filepath.Join(t.TempDir(), "intents.db")).Replace(`{
	admin ADMIN
	persist_config off
	intents {
		store bolt STORE
	}
}
http://ADDR {
	intents TO {
		job report {
			submit POST /reports/generate
			status GET /reports/status/{job_id}
			cancel DELETE /reports/status/{job_id}
			poll 100ms {
				first 50ms
			}
		}
	}
}
`))
	f.Start()
	return f
}

// A client is a running one of examples/clients.
type client struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	seq   int
}

func (f front) run(t *testing.T, command []string, args ...string) *client {
	t.Helper()
	c := &client{t: t, cmd: exec.CommandContext(t.Context(), command[0], append(append(command[1:], f.submit), args...)...)}
	c.cmd.Env = append(os.Environ(), asClient+"=1")
	c.cmd.Stderr = t.Output()
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	c.lines = bufio.NewScanner(out)
	return c
}

// sees reads what the client printed up to the status; no event may be missing, and
// none may come twice.
func (c *client) sees(status string) {
	c.t.Helper()
	for c.lines.Scan() {
		c.seq++
		number, said, _ := strings.Cut(c.lines.Text(), " ")
		require.Equal(c.t, fmt.Sprint(c.seq), number)
		if said == status {
			return
		}
	}
	require.Fail(c.t, "the client ended too early", "waiting for %s", status)
}

func (c *client) exits(code int) {
	c.t.Helper()
	require.False(c.t, c.lines.Scan(), "there is nothing after the end, but %q came", c.lines.Text())
	_ = c.cmd.Wait()
	require.Equal(c.t, code, c.cmd.ProcessState.ExitCode())
}

func TestEveryClientFollowsItsIntentThroughAKill(t *testing.T) {
	f := newFront(t)
	running := make(map[string]*client)
	for file, command := range f.commands(t) {
		running[file] = f.run(t, command, fmt.Sprintf(`{"client":%q}`, file))
	}
	for _, c := range running {
		c.sees("IN_PROGRESS")
	}
	f.Kill()
	for _, job := range f.backend.Jobs() {
		f.backend.Says(job.ID, "running", 50)
	}
	f.Start()
	for _, c := range running {
		c.sees("IN_PROGRESS")
	}
	// They end differently: an exit code that is always the same is found out.
	jobs := f.backend.Jobs()
	require.Len(t, jobs, len(running), "each client submitted once")
	ends := make(map[string]string)
	for i, job := range jobs {
		state := []string{"done", "failed"}[i%2]
		ends[job.Body] = state
		f.backend.Says(job.ID, state, 100)
	}
	for file, c := range running {
		if ends[fmt.Sprintf(`{"client":%q}`, file)] == "done" {
			c.sees("COMPLETED")
			c.exits(0)
		} else {
			c.sees("FAILED")
			c.exits(1)
		}
	}
}

func TestEveryClientCancels(t *testing.T) {
	f := newFront(t)
	running := make(map[string]*client)
	for file, command := range f.commands(t) {
		running[file] = f.run(t, command, fmt.Sprintf(`{"client":%q}`, file), "cancel")
	}
	for _, c := range running {
		c.sees("CANCELED")
		c.exits(1)
	}
	for _, job := range f.backend.Jobs() {
		require.Equal(t, 1, job.Cancels, job.Body)
	}
}

//go:build e2e

package caddymodule_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// A process is a real Caddy of its own, in front of a backend in this one, which
// survives it.
type process struct {
	site
	admin  string
	file   string // the Caddyfile
	cmd    *exec.Cmd
	log    *processLog
	exited chan struct{}
}

func newProcess(t *testing.T) *process {
	p := &process{admin: freeAddr(t), file: filepath.Join(t.TempDir(), "Caddyfile")}
	p.site = site{t: t, backend: legacytest.New(), addr: freeAddr(t), store: filepath.Join(t.TempDir(), "intents.db")}
	server := httptest.NewServer(p.backend)
	t.Cleanup(server.Close)
	p.to = server.Listener.Addr().String()
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill()
		}
	})
	return p
}

// configure writes the Caddyfile; block is as for site.config.
func (p *process) configure(block string) {
	p.t.Helper()
	text := "{\n\tadmin ADMIN\n\tpersist_config off\n\tintents {\n\t\tstore bolt STORE\n\t}\n}\nhttp://ADDR {\n" + block + "\n}\n"
	text = strings.NewReplacer("ADMIN", p.admin, "ADDR", p.addr, "TO", p.to, "STORE", p.store).Replace(text)
	writeFile(p.t, p.file, text)
}

// start runs Caddy and returns when it serves: it calls back when it does.
func (p *process) start() {
	p.t.Helper()
	callback, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	defer callback.Close()
	token := rand.Text()

	cmd := p.command("run", "--config", p.file, "--adapter", "caddyfile", "--pingback", callback.Addr().String())
	cmd.Stdin = strings.NewReader(token)
	p.begin(cmd)
	go func(exited chan struct{}) {
		<-exited
		callback.Close() // a Caddy that did not come up calls nobody
	}(p.exited)

	conn, err := callback.Accept()
	require.NoError(p.t, err, "caddy did not start:\n%s", p.log)
	defer conn.Close()
	said, err := io.ReadAll(conn)
	require.NoError(p.t, err)
	require.Equal(p.t, token, string(said))
}

// begin starts a command as this process.
func (p *process) begin(cmd *exec.Cmd) {
	p.t.Helper()
	log, exited := newProcessLog(), make(chan struct{})
	cmd.Stderr = log
	require.NoError(p.t, cmd.Start())
	p.cmd, p.log, p.exited = cmd, log, exited
	go func() {
		defer close(exited)
		defer log.end()
		_ = cmd.Wait()
	}()
}

// command is Caddy's command line.
func (p *process) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCaddy+"=1")
	return cmd
}

// run runs one of Caddy's commands to its end.
func (p *process) run(args ...string) (string, error) {
	out, err := p.command(args...).CombinedOutput()
	return string(out), err
}

func (p *process) reload() {
	p.t.Helper()
	out, err := p.run("reload", "--config", p.file, "--adapter", "caddyfile", "--address", p.admin)
	require.NoError(p.t, err, out)
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

func (p *process) terminate() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
}

// processLog keeps what a process says.
type processLog struct {
	mu    sync.Mutex
	said  sync.Cond // something was, or never will be again
	text  bytes.Buffer
	ended bool
}

func newProcessLog() *processLog {
	l := new(processLog)
	l.said.L = &l.mu
	return l
}

func (l *processLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.said.Broadcast()
	return l.text.Write(b)
}

func (l *processLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.said.Broadcast()
}

// wait returns when the process has said something.
func (l *processLog) wait(t *testing.T, what string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.text.String(), what) {
		require.False(t, l.ended, "the process ended without saying %q:\n%s", what, l.text.String())
		l.said.Wait()
	}
}

func (l *processLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

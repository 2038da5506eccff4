// Package caddytest runs real Caddys for tests, each a process of its own. They are
// the test binary itself in another role, so that no test needs another binary.
package caddytest

import (
	"cmp"
	cryptorand "crypto/rand"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// asCaddy in the environment makes the test binary a Caddy.
const asCaddy = "INTENTS_TEST_AS_CADDY"

// Main is to be called by TestMain: it runs the tests, or caddy if this process was
// started by one of them.
func Main(m *testing.M, caddy func()) {
	if os.Getenv(asCaddy) != "" {
		caddy()
		return
	}
	dir, err := os.MkdirTemp("", "caddytest")
	if err != nil {
		panic(err)
	}
	// Caddy must not touch what the user of this machine has.
	os.Setenv("XDG_DATA_HOME", dir)
	os.Setenv("XDG_CONFIG_HOME", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A Process is a Caddy that can be killed. It ends with the test at the latest.
type Process struct {
	Admin  string        // address for its admin API, which nobody else listens on
	File   string        // its Caddyfile, written by Configure
	Env    []string      // what its environment has besides that of the test
	Binary string        // another Caddy than the test binary; "" for none
	Under  []string      // a command that Start runs it under, as the same process; nil for none
	Log    *Log          // what it has said
	Exited chan struct{} // closed when it has ended

	t   *testing.T
	cmd *exec.Cmd
}

// NewProcess returns a Process that does not run yet.
func NewProcess(t *testing.T) *Process {
	p := &Process{t: t, Admin: FreeAddr(t), File: filepath.Join(t.TempDir(), "Caddyfile")}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.Kill()
		}
	})
	return p
}

// handed are the ports that tests of this process were given. None is given twice: two
// Caddys can listen on one port and share what comes.
var handed = struct {
	sync.Mutex
	ports map[int]bool
}{ports: make(map[int]bool)}

// FreeAddr is an address that nobody listens on just now. It is none of those that
// systems hand out by themselves, which could be anybody's until a Caddy that was
// killed begins again.
func FreeAddr(t *testing.T) string {
	t.Helper()
	handed.Lock()
	defer handed.Unlock()
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if handed.ports[port] {
			continue
		}
		handed.ports[port] = true
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			require.NoError(t, l.Close())
			return addr
		}
	}
	require.Fail(t, "no port is free")
	return ""
}

// Configure writes the Caddyfile.
func (p *Process) Configure(text string) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(p.File, []byte(text), 0o600))
}

// Start runs Caddy and returns when it serves.
func (p *Process) Start() {
	p.t.Helper()
	require.NoError(p.t, p.TryStart())
}

// TryStart is Start for a Caddy that may end before it serves: it calls back when it
// does.
func (p *Process) TryStart() error {
	p.t.Helper()
	callback, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	defer callback.Close()
	token := cryptorand.Text()

	cmd := p.Command("run", "--config", p.File, "--adapter", "caddyfile", "--pingback", callback.Addr().String())
	cmd.Stdin = strings.NewReader(token)
	if len(p.Under) > 0 {
		under, err := exec.LookPath(p.Under[0])
		require.NoError(p.t, err)
		cmd.Path, cmd.Args = under, append(slices.Clone(p.Under), cmd.Args...)
	}
	p.Begin(cmd)
	go func(exited chan struct{}) {
		<-exited
		callback.Close() // a Caddy that did not come up calls nobody
	}(p.Exited)

	conn, err := callback.Accept()
	if err != nil {
		return fmt.Errorf("caddy did not start:\n%s", p.Log)
	}
	defer conn.Close()
	said, err := io.ReadAll(conn)
	if err != nil || string(said) != token {
		return fmt.Errorf("caddy did not say that it serves: %q %w", said, err)
	}
	return nil
}

// Begin starts a command as this process.
func (p *Process) Begin(cmd *exec.Cmd) {
	p.t.Helper()
	log, exited := newLog(), make(chan struct{})
	cmd.Stderr = log
	require.NoError(p.t, cmd.Start())
	p.cmd, p.Log, p.Exited = cmd, log, exited
	go func() {
		defer close(exited)
		defer log.end()
		_ = cmd.Wait()
	}()
}

// Command is Caddy's command line.
func (p *Process) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(cmp.Or(p.Binary, os.Args[0]), args...)
	cmd.Env = append(append(os.Environ(), asCaddy+"=1"), p.Env...)
	return cmd
}

// Run runs one of Caddy's commands to its end.
func (p *Process) Run(args ...string) (string, error) {
	out, err := p.Command(args...).CombinedOutput()
	return string(out), err
}

// Reload has the running Caddy read its Caddyfile again.
func (p *Process) Reload() {
	p.t.Helper()
	out, err := p.Run("reload", "--config", p.File, "--adapter", "caddyfile", "--address", p.Admin)
	require.NoError(p.t, err, out)
}

// Kill is kill -9, and waits until the process is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.Exited
}

// Pause stops the process as a machine that swaps does: its connections stay.
func (p *Process) Pause() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume ends Pause.
func (p *Process) Resume() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT))
}

// Terminate asks the process to end, and does not wait.
func (p *Process) Terminate() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
}

// ExitCode is that of a process that has ended.
func (p *Process) ExitCode() int {
	<-p.Exited
	return p.cmd.ProcessState.ExitCode()
}

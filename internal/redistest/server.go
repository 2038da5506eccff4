// Package redistest runs real redis-servers for tests, each a process of its own with
// its own directory and port on loopback.
package redistest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A Server is a redis-server that keeps an append-only file. It ends with the test at
// the latest.
type Server struct {
	Addr string

	dir  string
	args []string
	cmd  *exec.Cmd
}

// Start runs a server; args are more of its settings, as on its command line.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, t.TempDir(), append([]string{"--appendonly", "yes", "--save", ""}, args...)...)
}

func start(t testing.TB, dir string, args ...string) *Server {
	t.Helper()
	s := &Server{Addr: FreeAddr(t), dir: dir, args: args}
	t.Cleanup(s.Kill)
	s.Restart(t)
	return s
}

// Restart runs the server again, on what it left in its directory, and waits until it
// answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	s.cmd = exec.Command("redis-server", append(s.args, "--port", port, "--bind", "127.0.0.1", "--dir", s.dir)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	require.NoError(t, s.cmd.Start())
	require.Eventually(t, func() bool {
		answer, err := s.Do("PING")
		return err == nil && !strings.HasPrefix(answer, "-LOADING")
	}, 30*time.Second, 10*time.Millisecond)
}

// Kill is kill -9, and waits until the server is gone.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Pause stops the server as a machine that swaps does: its connections stay.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume ends Pause.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
}

// Pid is that of the running server.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Do sends a command and returns the answer as it comes, without the line's end; of an
// answer of many lines all but the first are separated by line feeds.
func (s *Server) Do(words ...string) (string, error) {
	var d net.Dialer
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	var n int
	if _, scanErr := fmt.Sscanf(line, "$%d", &n); scanErr != nil || n < 0 || err != nil {
		return line, err
	}
	body := make([]byte, n)
	_, err = io.ReadFull(r, body)
	return string(body), err
}

// Await asks until the answer contains what is wanted.
func (s *Server) Await(t testing.TB, command, want string) {
	t.Helper()
	require.Eventually(t, func() bool {
		answer, _ := s.Do(strings.Fields(command)...)
		return strings.Contains(answer, want)
	}, 30*time.Second, 10*time.Millisecond, "%s never answers %q", command, want)
}

// FreeAddr is an address that nobody listens on just now. It is none of those that
// systems hand out by themselves, nor of those of other tests: a server that was killed
// begins again there. A cluster needs the port ten thousand above as well.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 30000+rand.IntN(2700))
		if l, err := net.Listen("tcp", addr); err == nil {
			require.NoError(t, l.Close())
			return addr
		}
	}
	require.Fail(t, "no port is free")
	return ""
}

//go:build backends

// Package backends_test holds the plugin against servers that know nothing of it. The
// folders beside it have a Caddyfile for each, and a script that starts one.
package backends_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"

	_ "github.com/caddy-intents/caddy-intents"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

func TestMain(m *testing.M) {
	if os.Getenv(inBox) != "" {
		os.Exit(box(os.Args[1:]))
	}
	caddytest.Main(m, caddycmd.Main)
}

// patience is how long a server may take to start, or a job to end.
const patience = 3 * time.Minute

// A site is a Caddy with the Caddyfile of one of the folders.
type site struct {
	t      *testing.T
	addr   string
	header http.Header // of all requests of its clients
}

// serve starts Caddy for the server of that name. Env are the variables of its
// Caddyfile that say where the server is.
func serve(t *testing.T, name string, env ...string) *site {
	t.Helper()
	caddyfile, err := os.ReadFile(filepath.Join(name, "Caddyfile"))
	require.NoError(t, err)
	p, addr := caddytest.NewProcess(t), caddytest.FreeAddr(t)
	p.Configure(string(caddyfile))
	p.Env = append(env, "SITE=http://"+addr, "CADDY_ADMIN="+p.Admin)
	p.Start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Log)
		}
	})
	return &site{t: t, addr: addr, header: make(http.Header)}
}

// ask sends a request as a client would and returns the answer, which must be a 2xx.
func (s *site) ask(method, path, body string) (http.Header, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header = s.header.Clone()
	resp, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, 2, resp.StatusCode/100, "%s %s: %d %s", method, path, resp.StatusCode, answer)
	return resp.Header, string(answer)
}

// read is ask for an answer in JSON.
func (s *site) read(to any, method, path, body string) {
	s.t.Helper()
	_, answer := s.ask(method, path, body)
	require.NoError(s.t, json.Unmarshal([]byte(answer), to), answer)
}

// A story is what an observer is told of one job.
type story struct {
	t      *testing.T
	jobID  string // known from DELIVERED on
	frames *sse.Reader
	events []intent.Event
}

// submit starts a job and observes it.
func (s *site) submit(path, body string) *story {
	s.t.Helper()
	head, answer := s.ask("POST", path, body)
	id := head.Get("Intent-Id")
	require.NotEmpty(s.t, id, "no intent was made of: %s", answer)
	resp, err := http.Get("http://" + s.addr + "/v1/intents/" + id + "/events/stream")
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode)
	// A story that never ends must not hold up the test.
	overdue := time.AfterFunc(patience, func() { resp.Body.Close() })
	s.t.Cleanup(func() {
		overdue.Stop()
		resp.Body.Close()
	})
	return &story{t: s.t, frames: sse.NewReader(resp.Body)}
}

// until reads events up to one for which the story has come that far.
func (st *story) until(far func(intent.Event) bool) {
	st.t.Helper()
	for {
		frame, err := st.frames.Next()
		require.NoError(st.t, err, "so far: %+v", st.events)
		var e intent.Event
		require.NoError(st.t, json.Unmarshal([]byte(frame.Data), &e))
		require.Equal(st.t, int64(len(st.events)+1), e.Seq)
		st.events = append(st.events, e)
		st.t.Log(frame.Data)
		if e.Details.JobID != "" {
			st.jobID = e.Details.JobID
		}
		if far(e) {
			return
		}
		require.False(st.t, e.Status.Terminal(), "ended as %s", e.Status)
	}
}

// runs reads up to the first reading of a job that is not over.
func (st *story) runs() {
	st.t.Helper()
	st.until(func(e intent.Event) bool { return e.Status == intent.InProgress })
}

// ends reads to the end, which must be of this status and come in the legal order, and
// returns its details.
func (st *story) ends(as intent.Status) intent.Details {
	st.t.Helper()
	st.until(func(e intent.Event) bool { return e.Status == as })
	_, err := st.frames.Next()
	require.ErrorIs(st.t, err, io.EOF, "an end is the end of the stream")
	var statuses []intent.Status
	for _, e := range st.events {
		if n := len(statuses); n == 0 || statuses[n-1] != e.Status {
			statuses = append(statuses, e.Status)
		}
		require.Empty(st.t, e.Details.UnknownState, "the example lacks a word")
	}
	require.Equal(st.t, []intent.Status{intent.Created, intent.Submitted, intent.Delivered, intent.InProgress, as}, statuses)
	return st.events[len(st.events)-1].Details
}

// A server is a process that the test has started and that ends with it.
type server struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}
}

// start runs the script of a folder.
func start(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // in case the test itself is killed
	require.NoError(t, cmd.Start())
	s := &server{t, cmd, make(chan struct{})}
	go func() {
		defer close(s.exited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		s.kill()
		log.Close()
		if said, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s said:\n%s", cmd, said)
		}
	})
	return s
}

// kill is kill -9, and waits until the server is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// serves returns when the server can be reached.
func (s *server) serves(network, address string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			conn.Close()
			return true
		}
		select {
		case <-s.exited:
			return true
		default:
			return false
		}
	}, patience, 50*time.Millisecond, "nobody listens on %s", address)
	select {
	case <-s.exited:
		s.t.Fatal("the server has ended")
	default:
	}
}

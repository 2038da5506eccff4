package offload_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// A listener is a client on a stream.
type listener struct {
	t     *testing.T
	w     *streamed
	done  chan struct{}
	abort bool
	leave context.CancelFunc
}

// streamed is a ResponseWriter that can be read while it is written.
type streamed struct {
	mu     sync.Mutex
	header http.Header
	code   int
	body   bytes.Buffer
	stuck  chan struct{} // closed when the client reads again; nil while it does
}

func (s *streamed) Header() http.Header { return s.header }
func (s *streamed) Flush()              {}
func (s *streamed) WriteHeader(code int) {
	if s.code == 0 {
		s.code = code
	}
}
func (s *streamed) Write(p []byte) (int, error) {
	s.mu.Lock()
	stuck := s.stuck
	s.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.WriteHeader(http.StatusOK)
	return s.body.Write(p)
}

// stops makes the client take nothing more until goOn is called.
func (s *streamed) stops() (goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stuck := make(chan struct{})
	s.stuck = stuck
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stuck = nil
		close(stuck)
	}
}

// text is what was written so far.
func (s *streamed) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body.String()
}

func (c *client) listens(jobID string, header ...string) *listener {
	c.tt.t.Helper()
	l := c.begins(jobID, header...)
	synctest.Wait()
	return l
}

// begins is listens before anything has happened.
func (c *client) begins(jobID string, header ...string) *listener {
	ctx, leave := context.WithCancel(context.Background())
	l := &listener{t: c.tt.t, w: &streamed{header: http.Header{}}, done: make(chan struct{}), leave: leave}
	r := c.request("GET", "/reports/status/"+jobID, append([]string{"Accept", "text/event-stream"}, header...)...).WithContext(ctx)
	server, who, next := c.tt.server, c.asker(), c.tt.backend.Send
	go func() {
		defer close(l.done)
		defer func() { l.abort = recover() != nil }()
		if err := server.Serve(l.w, r, who, next); err != nil {
			panic(err)
		}
	}()
	return l
}

// frames are all so far; each is a status object.
func (l *listener) frames() (all []map[string]any) {
	l.t.Helper()
	synctest.Wait()
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	r := sse.NewReader(strings.NewReader(l.w.body.String()))
	for {
		f, err := r.Next()
		if err != nil {
			return all
		}
		require.Equal(l.t, "message", f.Event, "frames have no name")
		var object map[string]any
		require.NoError(l.t, json.Unmarshal([]byte(f.Data), &object), f.Data)
		object["#id"] = f.ID
		all = append(all, object)
	}
}

func (l *listener) last() map[string]any {
	l.t.Helper()
	all := l.frames()
	require.NotEmpty(l.t, all, "%d %s", l.w.code, l.w.text())
	return all[len(all)-1]
}

func (l *listener) wantStream() *listener {
	l.t.Helper()
	synctest.Wait()
	require.Equal(l.t, "text/event-stream", l.w.header.Get("Content-Type"), "%d %s", l.w.code, l.w.text())
	return l
}

// cut reports whether the stream was ended in a way that no client takes for the end.
func (l *listener) cut() bool {
	l.t.Helper()
	synctest.Wait()
	select {
	case <-l.done:
		return l.abort
	default:
		return false
	}
}

// over reports whether the stream ended as one that has told all.
func (l *listener) over() bool {
	l.t.Helper()
	synctest.Wait()
	select {
	case <-l.done:
		return !l.abort
	default:
		return false
	}
}

func (l *listener) wantEnd() {
	l.t.Helper()
	synctest.Wait()
	select {
	case <-l.done:
		require.False(l.t, l.abort, "it ended abnormally")
	default:
		require.Fail(l.t, "the stream goes on")
	}
}

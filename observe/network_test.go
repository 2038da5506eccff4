package observe

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// The tests in this file are over real connections, outside of virtual time: what
// they are about is what a client of net/http sees.

func TestEndsAreSeenForWhatTheyAreOverTheNetwork(t *testing.T) {
	for proto, start := range protocols {
		t.Run(proto, func(t *testing.T) {
			tt := newTester(t, Config{})
			server := httptest.NewUnstartedServer(tt.server)
			start(server)
			defer server.Close()

			// The end of the intent is the end of the response.
			job := tt.begins()
			job.says("running")
			job.completes(`{}`)
			events := receive(t, server, proto, job.stream(), 5)
			_, err := events.Next()
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, 24*time.Hour, events.Retry())

			// A drain is not.
			events = receive(t, server, proto, tt.begins().stream(), 3)
			tt.hub.Close()
			_, err = events.Next()
			require.Error(t, err)
			require.NotErrorIs(t, err, io.EOF)
			require.Less(t, events.Retry(), 5*time.Second)
		})
	}
}

func TestAClientThatHangsUpIsNoticed(t *testing.T) {
	for proto, start := range protocols {
		t.Run(proto, func(t *testing.T) {
			ended := make(chan End, 1)
			tt := newTester(t, Config{})
			tt.server.Ended = func(end End) { ended <- end }
			server := httptest.NewUnstartedServer(tt.server)
			start(server)
			defer server.Close()

			ctx, hangUp := context.WithCancel(t.Context())
			resp := open(t, server, proto, ctx, tt.begins().stream())
			defer resp.Body.Close()
			hangUp()
			require.Equal(t, EndGone, <-ended)
			tt.hub.Close()
		})
	}
}

func TestAFullConnectionDoesNotHoldUpADrain(t *testing.T) {
	for proto, start := range protocols {
		t.Run(proto, func(t *testing.T) {
			tt := newTester(t, Config{})
			failed := make(chan error)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				out := newResponseWire(w, tt.hub.drained)
				var err error
				for err == nil {
					_, err = out.Write(make([]byte, 64<<10)) // until nothing takes any more
				}
				failed <- err
			}))
			start(server)
			defer server.Close()
			resp := open(t, server, proto, t.Context(), "/")
			defer resp.Body.Close()

			began := time.Now()
			tt.hub.Drain(ErrDraining)
			err := <-failed
			require.Less(t, time.Since(began), writeTimeout/2)
			if proto == "HTTP/1.1" { // HTTP/2 has no error of its own for it
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			}
		})
	}
}

var protocols = map[string]func(*httptest.Server){
	"HTTP/1.1": (*httptest.Server).Start,
	"HTTP/2.0": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
}

func open(t *testing.T, server *httptest.Server, proto string, ctx context.Context, path string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	require.NoError(t, err)
	resp, err := server.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, proto, resp.Proto)
	return resp
}

// receive opens a stream and reads n events of it.
func receive(t *testing.T, server *httptest.Server, proto, path string, n int) *sse.Reader {
	t.Helper()
	resp := open(t, server, proto, t.Context(), path)
	t.Cleanup(func() { resp.Body.Close() })
	events := sse.NewReader(resp.Body)
	for range n {
		f, err := events.Next()
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(f.Event, "intent."), f.Event)
	}
	return events
}

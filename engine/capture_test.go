package engine_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A served body cannot be read any more when it is closed, as a server's.
type served struct {
	io.Reader
	mu     sync.Mutex
	closed bool
}

func (s *served) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errors.New("read after close")
	}
	return s.Reader.Read(p)
}

func (s *served) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// early answers before it has read the request. What it does with the body then is up
// to rest, which is over before the test is.
type early struct {
	rest func(body io.ReadCloser)
	runs sync.WaitGroup
}

func (t *early) Send(w http.ResponseWriter, r *http.Request) error {
	t.runs.Go(func() { t.rest(r.Body) })
	w.WriteHeader(http.StatusAccepted)
	_, err := io.WriteString(w, `{"job_id":"1"}`)
	return err
}

func TestARepeatOfWhatABackendDidNotReadIsARepeat(t *testing.T) {
	body := strings.Repeat("0123456789", 10_000)
	for name, rest := range map[string]func(io.ReadCloser){
		"left unread": func(b io.ReadCloser) { _ = b.Close() },
		"read later": func(b io.ReadCloser) {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{b}, make([]byte, 100))
			_ = b.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			transport := &early{rest: rest}
			inBubble(t, func(t *testing.T, et *tester) {
				post := func() (*httptest.ResponseRecorder, error) {
					r := httptest.NewRequest("POST", "/reports/generate", nil)
					r.Body = &served{Reader: strings.NewReader(body)}
					w := httptest.NewRecorder()
					err := et.engine.Submit(w, r, engine.Submission{Job: et.job, Base: "/v1/intents", Key: "k"})
					transport.runs.Wait()
					return w, err
				}
				first, err := post()
				require.NoError(t, err)
				_, err = intent.ParseID(first.Header().Get("Intent-Id"))
				require.NoError(t, err)
				again, err := post()
				require.NoError(t, err)
				require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
			}, func(j *engine.Job, _ *adapter.Spec) {
				j.Backend = &engine.Backend{Name: "default", Transport: transport, InFlight: engine.DefaultInFlight, Rate: engine.DefaultRate}
			})
		})
	}
}

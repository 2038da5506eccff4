package webhook

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// theSecret is one as an operator writes it.
const theSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// A tester is a sender on a memory store, in virtual time, with receivers that are
// scripted by host. Its verbs wait until everything has come to rest.
type tester struct {
	t         *testing.T
	store     *memstore.Store
	sender    *Sender
	receivers *receivers
	outcomes  []Outcome
	keeps     atomic.Int64
	missing   atomic.Value // of string: the config has no recipient that begins like this
	log       *bytes.Buffer
}

func inBubble(t *testing.T, test func(t *testing.T, wt *tester)) {
	synctest.Test(t, func(t *testing.T) {
		wt := &tester{t: t, store: memstore.New(), receivers: &receivers{answers: make(map[string]receiver)}, log: new(bytes.Buffer)}
		wt.start()
		defer func() { wt.sender.Stop() }()
		test(t, wt)
	})
}

func (wt *tester) start() {
	secret, err := ParseSecret(theSecret)
	require.NoError(wt.t, err)
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(wt.log, nil))
	wt.sender = New(Config{
		Outbox: counting{wt.store, &wt.keeps},
		Lookup: func(m *store.Message) (Target, error) {
			if missing, _ := wt.missing.Load().(string); missing != "" && strings.HasPrefix(m.To, missing) {
				return Target{}, ErrNoTarget
			}
			return Target{URL: m.To, Secret: secret}, nil
		},
		Logger: func() *slog.Logger { return logger },
		Sent: func(o Outcome) {
			mu.Lock()
			defer mu.Unlock()
			wt.outcomes = append(wt.outcomes, o)
		},
	})
	wt.sender.ways = map[bool]http.RoundTripper{false: wt.receivers}
	wt.sender.Start()
	synctest.Wait()
}

// tell stores an intent that has ended, whose last event names these recipients.
func (wt *tester) tell(to ...string) intent.ID {
	wt.t.Helper()
	now := time.Now()
	in := intent.Intent{ID: intent.NewID(now, 0), Origin: intent.Origin{Scope: "default", Job: "report", Created: now, Deadline: now.Add(time.Hour)}}
	in, events := in.Begin(now)
	in, last := in.End(intent.Failed, intent.Details{Error: &intent.Error{Code: "job_failed", Message: "no paper"}}, now)
	last[0].Tell = to
	in.Expires = now.Add(time.Hour)
	_, err := wt.store.Create(wt.t.Context(), in, append(events, last...))
	require.NoError(wt.t, err)
	wt.sender.Wake()
	synctest.Wait()
	return in.ID
}

func (wt *tester) advance(d time.Duration) {
	<-time.After(d) // virtual
	synctest.Wait()
}

// counting counts what the sender puts back.
type counting struct {
	Outbox
	keeps *atomic.Int64
}

func (c counting) Keep(ctx context.Context, m store.Message) error {
	c.keeps.Add(1)
	return c.Outbox.Keep(ctx, m)
}

// waiting are the messages in the outbox.
func (wt *tester) waiting() []store.Message {
	wt.t.Helper()
	messages, err := wt.store.Messages(wt.t.Context(), store.MessageID{}, 10000)
	require.NoError(wt.t, err)
	return messages
}

// A receiver answers one request.
type receiver func(r *http.Request) (*http.Response, error)

// receivers are the hosts that there are. One that is not scripted takes everything.
type receivers struct {
	mu      sync.Mutex
	answers map[string]receiver
	got     []got
}

type got struct {
	host   string
	at     time.Time
	header http.Header
	body   []byte
}

func (r *receivers) RoundTrip(q *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(q.Body)
	r.mu.Lock()
	r.got = append(r.got, got{q.URL.Host, time.Now(), q.Header.Clone(), body})
	answer := r.answers[q.URL.Host]
	r.mu.Unlock()
	if answer == nil {
		answer = code(http.StatusNoContent)
	}
	return answer(q)
}

func (r *receivers) script(host string, a receiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[host] = a
}

func (r *receivers) all() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got(nil), r.got...)
}

func code(c int, headers ...string) receiver {
	return func(*http.Request) (*http.Response, error) {
		h := make(http.Header)
		for i := 0; i+1 < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		return &http.Response{StatusCode: c, Header: h, Body: io.NopCloser(strings.NewReader("garbage \x00 and more"))}, nil
	}
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

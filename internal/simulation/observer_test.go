package simulation_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// An observer follows an intent as an EventSource does, over cuts and restarts.
type observer struct {
	world  *world
	intent string
	name   string
	after  int64 // where its first connection began
	last   int64 // the last event that it has
}

func (o *observer) follow() {
	chance := source(o.world.plan.seed, o.name)
	if chance.IntN(3) == 0 {
		o.after = 1 + int64(chance.IntN(2)) // as somebody who has the first events from elsewhere
		o.last = o.after
	}
	<-time.After(between(chance, 0, time.Second))
	for !o.connect(chance) {
		select {
		case <-time.After(between(chance, time.Millisecond, 3*time.Second)):
		case <-o.world.over:
			return
		}
	}
}

// connect observes on one connection, until that breaks or there is nothing more.
func (o *observer) connect(chance *rand.Rand) (done bool) {
	l := o.world.now()
	if l == nil {
		return false
	}
	ctx, cut := context.WithCancel(l.ctx)
	defer cut()
	defer context.AfterFunc(l.ctx, cut)()
	stop := make(chan struct{})
	defer close(stop)
	o.world.actors.Go(func() {
		select {
		case <-o.world.over:
			cut()
		case <-stop:
		}
	})
	if chance.IntN(2) == 0 {
		timer := time.AfterFunc(between(chance, time.Millisecond, 20*time.Second), cut)
		defer timer.Stop()
	}
	in, out := io.Pipe()
	conn := &conn{header: make(http.Header), out: out}
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/intents/"+o.intent+"/events/stream", nil)
	if o.last > 0 {
		r.Header.Set("Last-Event-ID", strconv.FormatInt(o.last, 10))
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		err := attempt(func() error {
			l.server.ServeHTTP(conn, r)
			return nil
		})
		out.CloseWithError(errors.Join(err, io.EOF))
	}()
	done = o.receive(l, in, conn)
	cut()
	in.Close()
	<-served
	return done
}

// receive writes down what comes on a connection.
func (o *observer) receive(l *life, in io.Reader, c *conn) (done bool) {
	for reader := sse.NewReader(in); ; {
		frame, err := reader.Next()
		if l.dead.Load() {
			return false
		}
		if err != nil {
			if c.code == http.StatusNoContent {
				o.world.ledger.Write(audit.Entry{Seen: &audit.Seen{Observer: o.name, Intent: o.intent, After: o.after}})
			}
			return c.code == http.StatusNoContent
		}
		seen := audit.Seen{Observer: o.name, Intent: o.intent, After: o.after}
		var e intent.Event
		if err := json.Unmarshal([]byte(frame.Data), &e); err != nil || frame.Event == "intent.reset" {
			seen.Damage = frame.Event + " " + frame.Data
			o.world.ledger.Write(audit.Entry{Seen: &seen})
			return true
		}
		seen.Event = &e
		o.world.ledger.Write(audit.Entry{Seen: &seen})
		if o.last = e.Seq; e.Status.Terminal() {
			return true
		}
	}
}

// A conn is the writing end of a connection.
type conn struct {
	header http.Header
	code   int
	out    *io.PipeWriter
}

func (c *conn) Header() http.Header { return c.header }

func (c *conn) WriteHeader(code int) {
	if c.code == 0 {
		c.code = code
	}
}

func (c *conn) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.code != http.StatusOK {
		return len(p), nil // a problem: the observer comes back
	}
	return c.out.Write(p)
}

func (c *conn) Flush()                           {}
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

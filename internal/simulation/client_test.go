package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
)

// A client submits one job, perhaps again and again under the same key, and may then
// observe it, read it, and cancel it.
type client struct {
	world *world
	plan  clientPlan
	name  string
}

func (w *world) client(n int) {
	c := &client{world: w, plan: w.plan.clients[n], name: fmt.Sprintf("client-%d", n)}
	w.until(c.plan.at)
	w.clients.Go(func() { c.follow(c.submit("")) })
	for i, after := range c.plan.repeats {
		w.clients.Go(func() {
			w.until(c.plan.at + after)
			other := ""
			if c.plan.otherBody && i == len(c.plan.repeats)-1 {
				other = "-other"
			}
			c.submit(other)
		})
	}
}

// submit sends the request and returns the intent that the client is told, "" if it is
// told of none.
func (c *client) submit(other string) (id string) {
	l := c.world.now()
	if l == nil {
		return "" // there is nobody to submit to
	}
	job := l.asked(c.plan.job)
	if job == nil {
		return ""
	}
	ctx, leave := context.WithCancel(l.ctx)
	defer leave()
	timer := time.AfterFunc(c.plan.leaves, leave)
	defer timer.Stop()
	who := c.name + other
	r := httptest.NewRequestWithContext(ctx, "POST", "/reports/generate", strings.NewReader(`{"client":"`+who+`"}`))
	sub := engine.Submission{
		Job: job, Scheme: "https", Client: "203.0.113.7", Base: "/v1/intents", Within: c.plan.within, Cancels: c.plan.within > 0,
		Present: func(w http.ResponseWriter, in *intent.Intent) { w.WriteHeader(http.StatusAccepted) },
	}
	wish := audit.Wish{Client: who, Queued: job.Queue != nil}
	if wish.Queued {
		wish.Again = job.Queue.OnUncertain != engine.UncertainFails
	}
	if c.plan.key {
		wish.Key = "key of " + c.name
		sub.Key = "MAC of " + wish.Key
		r.Header.Set("Idempotency-Key", wish.Key)
	}
	c.world.ledger.Write(audit.Entry{Wish: &wish})
	w := httptest.NewRecorder()
	err := attempt(func() error { return l.engine.Submit(w, r, sub) })
	told := c.understand(w, err, ctx.Err() != nil || l.dead.Load())
	told.Client = who
	c.world.ledger.Write(audit.Entry{Told: &told})
	if told.Word == audit.Accepted {
		return told.Intent
	}
	return ""
}

// attempt does what net/http does around a handler.
func attempt(f func() error) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = http.ErrAbortHandler
		default:
			panic(p)
		}
	}()
	return f()
}

// understand says what an answer means for the client.
func (c *client) understand(w *httptest.ResponseRecorder, err error, left bool) audit.Told {
	id := w.Header().Get("Intent-Id")
	refused := errors.Is(err, engine.ErrNotAccepted) || errors.Is(err, engine.ErrQueueFull) || errors.Is(err, engine.ErrNotSent) || errors.Is(err, engine.ErrKeyReused)
	unkept := w.Header().Get("Intent-Status") != ""
	switch {
	case left, err != nil && !refused: // engine.ErrInDoubt, for one
		return audit.Told{Word: audit.Unknown, Unkept: unkept}
	case refused:
		return audit.Told{Word: audit.Refused}
	case id != "" && w.Code == http.StatusAccepted:
		return audit.Told{Word: audit.Accepted, Intent: id, Code: w.Code, Unkept: unkept}
	}
	return audit.Told{Word: audit.Passed, Code: w.Code, Unkept: unkept}
}

// follow does with an accepted intent what the client means to.
func (c *client) follow(id string) {
	if id == "" {
		return
	}
	for i := range c.plan.observers {
		o := &observer{world: c.world, intent: id, name: fmt.Sprintf("observer %d of %s", i, c.name)}
		c.world.actors.Go(o.follow)
	}
	if c.plan.cancels > 0 {
		c.world.actors.Go(func() {
			<-time.After(c.plan.cancels)
			c.cancel(id)
		})
	}
	c.world.actors.Go(func() { c.read(id) })
}

// cancel cancels the intent, if there is a process that can.
func (c *client) cancel(text string) {
	l := c.world.now()
	if l == nil {
		return
	}
	id, err := intent.ParseID(text)
	if err != nil {
		panic(err)
	}
	in, err := l.engine.Cancel(l.ctx, id, engine.Cancellation{Reason: "changed my mind"})
	told := audit.Told{Client: c.name, Intent: text, Word: audit.Unknown}
	if err == nil && in.Status == intent.Canceled && in.Error != nil && in.Error.Category == intent.ByClient && !l.dead.Load() {
		told.Word = audit.Canceled
		if _, events, err := l.store.Store.Events(context.Background(), id, in.Seq-1); err == nil && len(events) == 1 && events[0].Details.Backend == "not_sent" {
			told.Word = audit.Unsent
		}
	}
	c.world.ledger.Write(audit.Entry{Told: &told})
}

// read reads the intent now and then.
func (c *client) read(text string) {
	id, err := intent.ParseID(text)
	if err != nil {
		panic(err)
	}
	chance := source(c.world.plan.seed, "reads of "+c.name)
	for range 4 {
		select {
		case <-time.After(between(chance, 0, time.Minute)):
		case <-c.world.over:
			return
		}
		l := c.world.now()
		if l == nil {
			continue
		}
		in, err := l.store.Get(l.ctx, id)
		if err == nil && !l.dead.Load() {
			c.world.ledger.Write(audit.Entry{Read: &audit.Read{Intent: text, Seq: in.Seq, Status: in.Status}})
		}
	}
}

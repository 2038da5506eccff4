package caddymodule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A listener is a handler of Caddy's events app that passes on what it is told. One by
// the name "stuck" does not return as long as its config lasts, one by the name "faulty"
// panics.
type listener struct {
	Name string `json:"name,omitempty"`
}

// A heard event is one that a listener was told of.
type heard struct {
	by, name, module string
	data             map[string]any
}

var hearings = make(chan heard, 1000) // more than a test has

func init() { caddy.RegisterModule(listener{}) }

func (listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.listener", New: func() caddy.Module { return new(listener) }}
}

func (l *listener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.AllArgs(&l.Name)
	return nil
}

func (l *listener) Handle(ctx context.Context, e caddy.Event) error {
	hearings <- heard{l.Name, e.Name(), string(e.Origin().CaddyModule().ID), e.Data}
	switch l.Name {
	case "stuck":
		<-ctx.Done()
	case "faulty":
		panic("a fault in a handler of events")
	}
	return nil
}

// listens has a listener told of events by what is served next.
func (s *site) listens(name string, events ...string) {
	for len(hearings) > 0 {
		<-hearings // of another test
	}
	var lines strings.Builder
	for _, e := range events {
		fmt.Fprintf(&lines, "on %s listener %s\n", e, name)
	}
	s.options = "events {\n" + lines.String() + "}"
}

func hear(t *testing.T) heard {
	t.Helper()
	select {
	case h := <-hearings:
		return h
	case <-time.After(30 * time.Second):
		require.FailNow(t, "no event came")
		return heard{}
	}
}

var everyIntentEvent = []string{"intent_created", "intent_submitted", "intent_delivered", "intent_in_progress", "intent_completed", "intent_failed", "intent_canceled", "intent_timed_out"}

func TestCaddysEventsTellALife(t *testing.T) {
	s := newSite(t)
	s.listens("all", everyIntentEvent...)
	s.serve(report)
	id := s.finished()
	var names []string
	for i := 0; ; i++ {
		h := hear(t)
		names = append(names, h.name)
		require.Equal(t, "intents.events", h.module)
		require.Equal(t, id, h.data["intent_id"])
		require.Equal(t, "report", h.data["job"])
		require.EqualValues(t, i+1, h.data["seq"])
		if h.name == "intent_completed" {
			require.Equal(t, "COMPLETED", h.data["status"])
			break
		}
	}
	require.Equal(t, []string{"intent_created", "intent_submitted", "intent_delivered", "intent_in_progress", "intent_completed"}, names)
}

func TestAFailureIsToldWithItsCodeAndWithoutTheBackendsWords(t *testing.T) {
	s := newSite(t)
	s.listens("all", "intent_failed", "intent_completed")
	s.serve(report)
	_, job := s.submit()
	s.backend.Fails(job, "the password is s3cret")
	h := hear(t)
	require.Equal(t, "intent_failed", h.name)
	require.Equal(t, "job_failed", h.data["error_code"])
	require.Equal(t, "backend", h.data["error_category"])
	s.finished()
	completed := hear(t)
	for _, data := range []map[string]any{h.data, completed.data} {
		told, err := json.Marshal(data)
		require.NoError(t, err)
		require.NotContains(t, string(told), "s3cret")
		require.NotContains(t, string(told), "/reports/files/", "where the result is, is for who may read the intent")
	}
}

func TestAfterAReloadTheNewConfigsHandlersAreCalled(t *testing.T) {
	s := newSite(t)
	s.listens("old", "intent_completed")
	s.serve(report)
	id, job := s.submit()
	s.listens("new", "intent_completed")
	s.serve(report)
	s.backend.Finishes(job)
	s.observe(id).until(intent.Completed)
	require.Equal(t, "new", hear(t).by)
	require.Empty(t, hearings)
}

func TestAHandlerThatHangsKeepsNoIntentWaiting(t *testing.T) {
	s := newSite(t)
	s.listens("stuck", "intent_created")
	s.serve(report)
	for range 20 {
		s.finished()
	}
	require.Equal(t, "stuck", hear(t).by)
	require.Empty(t, hearings, "one is told after another")
	s.listens("free", "intent_created")
	s.serve(report)
	require.Equal(t, "free", hear(t).by, "the others were kept, and the reload was not held up")
	for range 18 {
		hear(t)
	}
}

func TestAHandlerThatPanicsEndsNothing(t *testing.T) {
	s := newSite(t)
	s.listens("faulty", "intent_created")
	s.serve(report)
	s.finished()
	s.finished()
	require.Equal(t, "faulty", hear(t).by)
	require.Equal(t, "faulty", hear(t).by)
}

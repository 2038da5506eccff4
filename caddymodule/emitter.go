package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-intents/caddy-intents/intent"
)

// An emitter passes events of intents on to the handlers of Caddy's events app. They
// are called one after another and may take their time, which must not be that of a
// poll: so the emitter has a goroutine of its own.
type emitter struct {
	to      *atomic.Pointer[audience]
	log     *slog.Logger
	dropped prometheus.Counter

	// queue holds what handlers are still to be told. When it is full an event is
	// dropped and counted: whoever must not miss one has a webhook, or observes.
	queue chan announcement
	quit  context.Context
	stop  context.CancelFunc
	ended chan struct{} // closed when run is over
}

// maxAnnouncements bounds what handlers are behind by.
const maxAnnouncements = 4096

// emitterPatience is how long a handler may go on after Stop.
const emitterPatience = 5 * time.Second

// An announcement is an event as handlers are told of it.
type announcement struct {
	name string
	data map[string]any
}

func newEmitter(to *atomic.Pointer[audience], log *slog.Logger, dropped prometheus.Counter) *emitter {
	e := &emitter{to: to, log: log, dropped: dropped, queue: make(chan announcement, maxAnnouncements), ended: make(chan struct{})}
	e.quit, e.stop = context.WithCancel(context.Background())
	return e
}

// Start begins to call handlers.
func (e *emitter) Start() { go e.run() }

// Stop ends that and waits for the handler under way: not for ever, since nobody knows
// what it does.
func (e *emitter) Stop() {
	e.stop()
	select {
	case <-e.ended:
	case <-time.After(emitterPatience):
		e.log.Warn("a handler of an event did not return; it is left to itself")
	}
}

// announce has handlers told of events, if there are any who want to know. It does not
// wait.
func (e *emitter) announce(in *intent.Intent, events []intent.Event) {
	to := e.to.Load()
	if to == nil {
		return
	}
	for i := range events {
		name := "intent_" + eventWord(events[i].Type)
		if !to.events.ShouldEmit(name) {
			continue
		}
		select {
		case e.queue <- announcement{name, announced(in, &events[i])}:
		default:
			e.dropped.Inc()
		}
	}
}

// eventWord is the type of an event without what all have in common.
func eventWord(t intent.EventType) string { return strings.TrimPrefix(string(t), "intent.") }

// announced is what handlers are told. It is in the debug log, too, by Caddy's doing:
// so nothing is in it that may be somebody's secret, as results, messages and URLs may.
func announced(in *intent.Intent, e *intent.Event) map[string]any {
	data := map[string]any{
		"intent_id": e.IntentID.String(), "scope": in.Scope, "job": in.Job, "job_id": in.JobID,
		"status": string(e.Status), "seq": e.Seq, "at": e.At.UTC().Format(time.RFC3339Nano),
	}
	d := &e.Details
	for key, text := range map[string]string{"unknown_state": d.UnknownState, "waiting": d.Waiting, "backend": d.Backend} {
		if text != "" {
			data[key] = text
		}
	}
	if d.Attempt > 0 {
		data["attempt"] = d.Attempt
	}
	if d.Progress != nil {
		data["progress"] = *d.Progress
	}
	if d.Error != nil {
		data["error_code"], data["error_category"], data["retryable"] = d.Error.Code, string(d.Error.Category), d.Error.Retryable
	}
	return data
}

// run calls handlers until Stop.
func (e *emitter) run() {
	defer close(e.ended)
	for {
		select {
		case a := <-e.queue:
			e.emit(a)
		case <-e.quit.Done():
			return
		}
	}
}

// emit calls the handlers of the config that is current now. A handler with a fault
// ends one call, and not the process.
func (e *emitter) emit(a announcement) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("a handler of an event panicked", "event", a.name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	to := e.to.Load()
	if to == nil || to.ctx.Err() != nil {
		e.dropped.Inc() // the config is gone, and none has come
		return
	}
	to.events.Emit(to.ctx, a.name, a.data)
}

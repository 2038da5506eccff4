package caddymodule_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
)

// exported is what Caddy's own provider has exported.
var exported *tracetest.InMemoryExporter

func init() {
	autoexport.RegisterSpanExporter("memory", func(context.Context) (sdktrace.SpanExporter, error) { return keeping{exported}, nil })
}

// keeping keeps spans when the provider is shut down, which is when they are all there.
type keeping struct{ *tracetest.InMemoryExporter }

func (keeping) Shutdown(context.Context) error { return nil }

// traces has Caddy export to memory, and returns what stops it and gives the spans.
func (s *site) traces() (stopped func() tracetest.SpanStubs) {
	s.t.Setenv("OTEL_TRACES_EXPORTER", "memory")
	exported = tracetest.NewInMemoryExporter()
	return func() tracetest.SpanStubs {
		require.NoError(s.t, caddy.Stop())
		return exported.GetSpans()
	}
}

// about returns the spans of one name that say that they are about an intent.
func about(spans tracetest.SpanStubs, name, id string) tracetest.SpanStubs {
	var found tracetest.SpanStubs
	for _, span := range spans {
		for _, a := range span.Attributes {
			if span.Name == name && a.Key == "intents.id" && a.Value.AsString() == id {
				found = append(found, span)
			}
		}
	}
	return found
}

// parent is the id of the span that a traceparent names.
func parent(t *testing.T, traceparent string) (trace, span string) {
	t.Helper()
	parts := strings.Split(traceparent, "-")
	require.Len(t, parts, 4, "traceparent %q", traceparent)
	return parts[1], parts[2]
}

func TestASubmitAndItsPollsAreTracedToTheBackend(t *testing.T) {
	s := newSite(t)
	stopped := s.traces()
	s.serve("tracing {\nspan site\n}\n" + report)
	id := s.finished()
	posted := s.backend.AskedFor("POST", "/reports/generate")[0].Header.Get("Traceparent")
	polls := s.backend.AskedFor("GET", "/reports/status/"+s.backend.Jobs()[0].ID)
	spans := stopped()

	submits := about(spans, "POST report", id)
	require.Len(t, submits, 1)
	trace, span := parent(t, posted)
	require.Equal(t, span, submits[0].SpanContext.SpanID().String(), "the backend goes on with our span")
	require.Equal(t, trace, submits[0].SpanContext.TraceID().String())
	require.Equal(t, trace, submits[0].Parent.TraceID().String(), "which is within Caddy's")

	polled := about(spans, "GET report", id)
	require.Len(t, polled, len(polls))
	_, span = parent(t, polls[0].Header.Get("Traceparent"))
	require.Equal(t, span, polled[0].SpanContext.SpanID().String())
}

func TestAQueuedSubmitGoesOnWithTheTraceOfItsClient(t *testing.T) {
	s := newSite(t)
	stopped := s.traces()
	s.serve("tracing\n" + strings.Replace(report, "poll 100ms", "queue 1m\npoll 100ms", 1))
	const client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	resp := s.do("POST", "/reports/generate", `{}`, "Traceparent", client)
	text(t, resp)
	s.observe(resp.Header.Get("Intent-Id")).until(intent.Delivered)
	trace, _ := parent(t, s.backend.AskedFor("POST", "/reports/generate")[0].Header.Get("Traceparent"))
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", trace)
	require.NotEmpty(t, about(stopped(), "POST report", resp.Header.Get("Intent-Id")))
}

func TestWithoutTracingNothingIsAdded(t *testing.T) {
	s := newSite(t)
	stopped := s.traces()
	s.serve("tracing\n" + report)
	s.finished()
	s.serve(report) // a reload
	s.finished()
	jobs := s.backend.Jobs()
	for _, a := range s.backend.AskedFor("GET", "/reports/status/"+jobs[1].ID) {
		require.Empty(t, a.Header.Get("Traceparent"))
	}
	require.Empty(t, s.backend.AskedFor("POST", "/reports/generate")[1].Header.Get("Traceparent"))
	require.NotEmpty(t, stopped())
}

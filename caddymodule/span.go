package caddymodule

import (
	"context"
	"net/http"
	"sync"

	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
)

// tracers know where the spans of our own requests go. Caddy keeps its provider to
// itself; what a request brings along that went through `tracing` leads to it. So polls
// of a handler are traced from the first such request on, until one comes that was not
// traced. A provider that Caddy has shut down makes no spans.
type tracers struct{ providers sync.Map } // trace.TracerProvider by the handler's name

// note learns from a request whether a handler is behind `tracing`.
func (t *tracers) note(ctx context.Context, scope string) {
	span := trace.SpanFromContext(ctx)
	if !span.SpanContext().IsValid() {
		t.providers.Delete(scope)
		return
	}
	provider := span.TracerProvider()
	if known, ok := t.providers.Load(scope); !ok || known != any(provider) {
		t.providers.Store(scope, provider)
	}
}

// of returns the provider for a handler, nil if it has none.
func (t *tracers) of(scope string) trace.TracerProvider {
	provider, _ := t.providers.Load(scope)
	p, _ := provider.(trace.TracerProvider)
	return p
}

const tracerName = "github.com/caddy-intents/caddy-intents"

// propagator writes and reads the headers by which a trace goes on elsewhere, as
// Caddy's own does: OTEL_PROPAGATORS says which; traceparent without it.
var propagator = sync.OnceValue(func() propagation.TextMapPropagator { return autoprop.NewTextMapPropagator() })

// startSpan begins a span of a request to the backend, if there is a provider for it,
// and has the request carry it.
func startSpan(provider trace.TracerProvider, ctx context.Context, r *http.Request, job string) (*http.Request, trace.Span) {
	ctx, span := provider.Tracer(tracerName).Start(ctx, r.Method+" "+job,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("intents.job", job), attribute.String("http.request.method", r.Method)))
	if span.SpanContext().IsValid() {
		propagator().Inject(ctx, propagation.HeaderCarrier(r.Header))
	}
	return r.WithContext(ctx), span
}

// spanSubmit begins the span of a submit: it ends when the intent is stored, or when
// there is none, and not with the stream or the wait that the answer can be.
func spanSubmit(r *http.Request, job string) (*http.Request, trace.Span) {
	outer := trace.SpanFromContext(r.Context())
	if !outer.SpanContext().IsValid() {
		return r, outer
	}
	r = r.Clone(r.Context())
	return startSpan(outer.TracerProvider(), r.Context(), r, job)
}

// endSubmit ends a span of spanSubmit that made an intent.
func endSubmit(span trace.Span, id intent.ID) {
	span.SetAttributes(attribute.String("intents.id", id.String()))
	span.End()
}

// spanOwn begins the span of a request that we make by ourselves: a poll, a cancel, the
// delivery of a submit. That one goes on with the trace of its client. End ends it.
func (t *tracers) spanOwn(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, _ *http.Request, end func(error)) {
	in := engine.About(r.Context())
	if in == nil {
		return w, r, func(error) {}
	}
	provider := t.of(in.Scope)
	if provider == nil {
		return w, r, func(error) {}
	}
	ctx := propagator().Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	r, span := startSpan(provider, ctx, r, in.Job)
	if !span.IsRecording() {
		return w, r, func(error) { span.End() }
	}
	span.SetAttributes(attribute.String("intents.id", in.ID.String()))
	w = watchHead(w, func(code int, _ http.Header) {
		span.SetAttributes(attribute.Int("http.response.status_code", code))
		if code >= http.StatusBadRequest {
			span.SetStatus(codes.Error, http.StatusText(code))
		}
	})
	return w, r, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, "no answer") // and not err, which can quote a URL
		}
		span.End()
	}
}

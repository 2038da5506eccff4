package caddymodule

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// A follower is a log for what outlives configs: it logs to where the current one
// says. Levels and outputs of the config that opened the store end with it.
type follower struct {
	current *atomic.Pointer[slog.Logger]
	refine  []func(slog.Handler) slog.Handler // attributes and groups, in order
}

// newFollower returns a log that follows what is stored in current.
func newFollower(current *atomic.Pointer[slog.Logger]) *slog.Logger {
	return slog.New(follower{current: current})
}

func (f follower) handler() slog.Handler {
	h := f.current.Load().Handler()
	for _, r := range f.refine {
		h = r(h)
	}
	return h
}

func (f follower) Enabled(ctx context.Context, level slog.Level) bool {
	return f.current.Load().Enabled(ctx, level)
}

func (f follower) Handle(ctx context.Context, r slog.Record) error { return f.handler().Handle(ctx, r) }

func (f follower) WithAttrs(attrs []slog.Attr) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (f follower) WithGroup(name string) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f follower) with(r func(slog.Handler) slog.Handler) slog.Handler {
	return follower{f.current, append(f.refine[:len(f.refine):len(f.refine)], r)}
}

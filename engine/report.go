package engine

import (
	"log/slog"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// warnUnknown tells once per job and word which line of config is missing.
func (e *Engine) warnUnknown(in *intent.Intent, word string) {
	if word == "" || word == in.UnknownState || !e.told.first("word", in.Scope, in.Job, word) {
		return
	}
	e.log().Warn("the backend uses a state that the config does not map; it is taken for in_progress",
		"job", in.Job, "intent", in.ID, "state", word,
		"add", "state { completed|failed|canceled|in_progress "+word+" }")
}

// warnRefused tells once per job that the backend names a URL that is not asked.
func (e *Engine) warnRefused(in *intent.Intent, url string) {
	if url != "" && e.told.first("refused", in.Scope, in.Job) {
		e.log().Warn("the backend names the URL of the next poll elsewhere; it is not used",
			"job", in.Job, "intent", in.ID, "url", url, "add", "allow_host <host>")
	}
}

func (e *Engine) reportEnd(in *intent.Intent) {
	e.meter.Ended(in)
	attrs := []any{"intent", in.ID, "job", in.Job, "status", string(in.Status), "seq", in.Seq,
		"duration", in.Updated.Sub(in.Created).Round(time.Millisecond)}
	if in.Error != nil {
		attrs = append(attrs, "code", in.Error.Code)
	}
	e.log().Info("intent ended", attrs...)
}

func (e *Engine) log() *slog.Logger { return e.settings.Load().Logger }

package caddymodule

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A mention is which intent a request is about, for the placeholders
//
//	{http.intents.id}      of the intent
//	{http.intents.job}     the name of its job; at a submit also where there is no intent
//	{http.intents.status}  as it is stored when the placeholder is read
//
// They are empty where there is no such thing, where a request is about several
// intents, and where its client may not know of the intent.
type mention struct {
	app     *App
	job     string // of a submit
	id      intent.ID
	several bool
}

type mentionKey struct{}

// mentionOf returns the mention of a request; nil before it is at our handler.
func mentionOf(ctx context.Context) *mention {
	m, _ := ctx.Value(mentionKey{}).(*mention)
	return m
}

// mention has the placeholders of a request stand for something from here on. Behind
// another handler of ours they do already.
func (h *Handler) mention(r *http.Request) *http.Request {
	if mentionOf(r.Context()) != nil {
		return r
	}
	m := &mention{app: h.app}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(m.placeholder)
	}
	return r.WithContext(context.WithValue(r.Context(), mentionKey{}, m))
}

// about notes which intent a request is about.
func about(ctx context.Context, id intent.ID) {
	if m := mentionOf(ctx); m != nil {
		m.several = m.several || m.id != intent.ID{} && m.id != id
		m.id = id
	}
}

func (m *mention) placeholder(key string) (any, bool) {
	word, ours := strings.CutPrefix(key, placeholderPrefix)
	switch {
	case !ours:
		return nil, false
	case word == "job" && m.job != "":
		return m.job, true
	case m.several || m.id == intent.ID{}:
		return placeholderOf(&intent.Intent{}, word)
	case word == "id":
		return m.id.String(), true
	}
	return placeholderOf(m.read(), word)
}

// mentionTimeout bounds the read of an intent for a placeholder.
const mentionTimeout = time.Second

// read returns the intent as it is stored; an empty one if it cannot be read.
func (m *mention) read() *intent.Intent {
	p := m.app.open()
	if p == nil {
		return &intent.Intent{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), mentionTimeout) // an access log is written when the client has left, too
	defer cancel()
	in, _ := p.metered.Get(ctx, m.id)
	return &in
}

const placeholderPrefix = "http.intents."

// placeholdersOf are the placeholders of a request of our own, which is about one
// intent.
func placeholdersOf(in *intent.Intent) caddy.ReplacerFunc {
	return func(key string) (any, bool) {
		word, ours := strings.CutPrefix(key, placeholderPrefix)
		if !ours {
			return nil, false
		}
		return placeholderOf(in, word)
	}
}

func placeholderOf(in *intent.Intent, word string) (any, bool) {
	switch {
	case word == "id" && in.ID == intent.ID{}:
		return "", true
	case word == "id":
		return in.ID.String(), true
	case word == "job":
		return in.Job, true
	case word == "status":
		return string(in.Status), true
	}
	return nil, false
}

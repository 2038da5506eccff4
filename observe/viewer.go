package observe

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Viewer is who a request is from, where intents have owners: the names under
// which intents of this owner may be kept, or none if the request is from nobody.
// Whoever authenticates the request puts it into its context.
type Viewer struct{ Owners []string }

func (v Viewer) owns(in *intent.Intent) bool {
	return in.Owner != "" && slices.Contains(v.Owners, in.Owner)
}

type viewerKey struct{}

// WithViewer returns the context of a request from v.
func WithViewer(ctx context.Context, v Viewer) context.Context {
	return context.WithValue(ctx, viewerKey{}, v)
}

// viewerOf is what WithViewer was given; nobody if nothing.
func viewerOf(ctx context.Context) Viewer {
	v, _ := ctx.Value(viewerKey{}).(Viewer)
	return v
}

// Tokens makes and checks observe tokens: whoever has one may read one intent for a
// while, and do nothing else. They are for URLs, since an EventSource sends no
// headers.
type Tokens interface {
	Token(id [16]byte, expires time.Time) string
	Verify(token string, id [16]byte, now time.Time) (expires time.Time, ok bool)

	// Says is until when a token says that it is good, whoever has made it.
	Says(token string) (expires time.Time, ok bool)
}

// TokenLife is how long a token is good for.
const TokenLife = time.Hour

// A sight is an intent that a request may read.
type sight struct {
	intent.Intent
	until time.Time // when the right to read it ends; zero if it does not
}

// see reads an intent for a request that may read it: from its owner, or with a
// token for it.
func (s *Server) see(r *http.Request, text, token string) (sight, error) {
	id, _ := intent.ParseID(text) // what is no id is the zero id, which nothing has
	viewer := viewerOf(r.Context())
	until, granted := s.granted(token, id, time.Now())
	if !granted && len(viewer.Owners) == 0 {
		return sight{}, Unauthorized()
	}
	in, err := s.Store.Get(r.Context(), id)
	switch {
	case err != nil:
		return sight{}, err
	case in.Scope != s.Scope:
		return sight{}, NotFound()
	case viewer.owns(&in):
		until = time.Time{}
	case !granted:
		return sight{}, NotFound()
	}
	s.Found(r.Context(), in.ID)
	return sight{Intent: in, until: until}, nil
}

// granted reports whether an intent may be read without being its owner, and until when;
// zero for ever.
func (s *Server) granted(token string, id intent.ID, now time.Time) (until time.Time, ok bool) {
	if s.Tokens == nil || token == "" {
		return time.Time{}, s.Tokens == nil
	}
	return s.Tokens.Verify(token, id, now)
}

// find reads an intent for whoever may do with it what an owner may: no token is
// enough for that.
func (s *Server) find(ctx context.Context, text string) (intent.Intent, error) {
	id, _ := intent.ParseID(text) // as in see
	viewer := viewerOf(ctx)
	if s.Tokens != nil && len(viewer.Owners) == 0 {
		return intent.Intent{}, Unauthorized()
	}
	in, err := s.Store.Get(ctx, id)
	switch {
	case err != nil:
		return intent.Intent{}, err
	case in.Scope != s.Scope, s.Tokens != nil && !viewer.owns(&in):
		return intent.Intent{}, NotFound()
	}
	s.Found(ctx, in.ID)
	return in, nil
}

// ObserveURL is the URL of an intent's stream for somebody who may read it: with a
// token, where it takes one.
func (s *Server) ObserveURL(prefix string, id intent.ID) string {
	if s.Tokens == nil {
		return s.streamURL(prefix, id)
	}
	return s.streamURL(prefix, id) + "?token=" + s.Tokens.Token(id, time.Now().Add(TokenLife))
}

// observeURL is the same for the client of a request. Who is here by a token keeps
// that token: one that could be renewed with nothing but itself would never expire.
func (s *Server) observeURL(r *http.Request, in *intent.Intent) string {
	prefix := Prefix(r.Context())
	if token := s.tokenOf(r, in); token != "" {
		return s.streamURL(prefix, in.ID) + token
	}
	return s.ObserveURL(prefix, in.ID)
}

// resultURL is where the client of a request gets the result that is too large for
// what it is answered.
func (s *Server) resultURL(r *http.Request, in *intent.Intent) string {
	return s.intentURL(Prefix(r.Context()), in.ID) + "/result" + s.tokenOf(r, in)
}

// tokenOf is the query with the token by which a client is here, "" if it needs none.
func (s *Server) tokenOf(r *http.Request, in *intent.Intent) string {
	if s.Tokens == nil || viewerOf(r.Context()).owns(in) {
		return ""
	}
	return "?token=" + r.URL.Query().Get("token")
}

package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Config is what a [Server] serves and how. Scope, Store and Hub are needed.
// Streams outlive it, and keep Store, Hub and Ended.
type Config struct {
	Scope string // of the intents to serve; those of others do not exist
	Path  string // of everything served, without a slash at the end; default /v1/intents

	Heartbeat time.Duration // between two signs of life on a quiet stream; default 4 s
	Limits    Limits        // of streams; see New for the defaults

	Store    Store
	Hub      *Hub
	AXP      *AXP         // nil: AXME's clients are served like all others
	Tokens   Tokens       // nil: intents have no owners, and who knows an id may read it
	Backend  Backend      // nil: nothing is fetched from there
	Pacing   Pacing       // nil: nothing is told about polling
	Alone    *Alone       // nil: other processes share the store
	Canceler Canceler     // needed, too
	Creator  Creator      // nil: jobs are started by their own URLs only
	MaxBody  int64        // of a payload, bytes; default 1 MiB
	OpenBody OpenBody     // nil: a payload that is kept encrypted is not told
	Logger   *slog.Logger // nil: nothing is logged
	Ended    func(End)    // called when a stream ends, if set

	// Found is told which intent a request is about that may read it, if set.
	Found func(ctx context.Context, id intent.ID)
}

// The default heartbeat is below the shortest read timeout that a common client
// comes with, 5 s. The age bounds how long a stream keeps parts of an unloaded
// configuration and an old decision about who may observe.
const (
	DefaultPath      = "/v1/intents"
	DefaultHeartbeat = 4 * time.Second
	DefaultObservers = 20_000           // streams of all owners
	maxAge           = 10 * time.Minute // of a stream, more or less a tenth
	ownersToFill     = 10               // it takes so many owners to fill a server
)

// A Store is where intents are read. Every store.Reader is one.
type Store interface {
	Get(ctx context.Context, id intent.ID) (intent.Intent, error)
	Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error)
	List(ctx context.Context, f store.Filter) (store.Page, error)
}

// OpenBody gives the body that an intent was made from, which can be stored encrypted.
type OpenBody func(in *intent.Intent) ([]byte, error)

// Pacing knows about the polling of an intent: whoever does it.
type Pacing interface {
	Pace(id intent.ID) Pace

	// Await waits a moment for what only another process knows of it yet.
	Await(ctx context.Context, id intent.ID)
}

// A Pace is what is known about the polling of an intent. A zero time is one that is
// not known, or that there is not.
type Pace struct {
	Last      time.Time // when the last poll began
	Next      time.Time // when the next is planned, or can be at the soonest
	Failures  int       // in a row
	Failing   time.Time // when the first of them began
	DownSince time.Time // since when the backend is not polled, because it is down
}

// A Server answers requests for intents. It belongs to one configuration.
type Server struct {
	Config
}

// New returns a Server with the defaults of Config filled in: 20,000 streams, a tenth
// of all for one owner, all for one intent.
func New(c Config) *Server {
	c.Path = cmp.Or(strings.TrimRight(c.Path, "/"), DefaultPath)
	c.Heartbeat = cmp.Or(c.Heartbeat, DefaultHeartbeat)
	c.MaxBody = cmp.Or(c.MaxBody, 1<<20)
	c.Limits.All = cmp.Or(c.Limits.All, DefaultObservers)
	c.Limits.PerOwner = cmp.Or(c.Limits.PerOwner, max(c.Limits.All/ownersToFill, 1))
	c.Limits.PerIntent = cmp.Or(c.Limits.PerIntent, c.Limits.All)
	if c.Found == nil {
		c.Found = func(context.Context, intent.ID) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{Config: c}
}

// A route is what one method does at one place under the path. A segment in
// braces is the intent's id. What is served is written whole, or it is a stream,
// which is returned with the head written.
type route struct {
	method  string // GET serves HEAD too
	pattern string
	serve   func(s *Server, w http.ResponseWriter, r *http.Request, id string) (*stream, error)
}

var routes = []route{
	{http.MethodGet, "", (*Server).serveList},
	{http.MethodPost, "", (*Server).serveCreate},
	{http.MethodGet, "events/stream", (*Server).openTogether},
	{http.MethodGet, "observe.js", (*Server).serveScript},
	{http.MethodGet, "{id}", (*Server).serveIntent},
	{http.MethodDelete, "{id}", (*Server).serveCancel},
	{http.MethodPost, "{id}/resolve", (*Server).serveResolve},
	{http.MethodGet, "{id}/events", (*Server).serveEvents},
	{http.MethodGet, "{id}/events/stream", (*Server).openStream},
	{http.MethodGet, "{id}/result", (*Server).serveResult},
}

// match reports whether the words after the path fit the pattern, and the id.
func (rt route) match(words []string) (id string, ok bool) {
	pattern := strings.Split(rt.pattern, "/")
	if len(words) != len(pattern) {
		return "", false
	}
	for i, p := range pattern {
		switch {
		case p == "{id}":
			id = words[i]
		case p != words[i]:
			return "", false
		}
	}
	return id, true
}

// ServeHTTP answers a request whose path is Path or below it. A stream that ends
// before its intent does panics with http.ErrAbortHandler, the one way to end a
// response so that the client cannot take it for complete: no last chunk on
// HTTP/1.1, a reset of the stream on HTTP/2 and 3. Servers expect it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if st := aside(func() *stream { return s.answer(w, r) }); st != nil {
		st.serve(r.Context()) // here s is no longer referred to
	}
}

// answer answers a request but for the stream that may be the rest of the answer.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) *stream {
	st, err := s.serve(w, r)
	if errors.Is(err, comeAgain{}) {
		cutBegun(w, retryElsewhere)
	}
	if err != nil {
		p := problemOf(err)
		if p.Status == http.StatusInternalServerError {
			s.Logger.ErrorContext(r.Context(), "serving an intent", "err", err)
		}
		p.ServeHTTP(w, r)
	}
	return st
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (*stream, error) {
	words := strings.Split(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, s.Path), "/"), "/")
	var allow []string
	for _, rt := range s.served() {
		id, ok := rt.match(words)
		switch {
		case !ok:
			continue
		case rt.method == r.Method, rt.method == http.MethodGet && r.Method == http.MethodHead:
			return rt.serve(s, w, r, id)
		}
		if allow = append(allow, rt.method); rt.method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	if allow != nil {
		slices.Sort(allow)
		return nil, MethodNotAllowed(strings.Join(allow, ", "))
	}
	return nil, nothingHere()
}

// nothingHere is the answer under our path where nothing is.
func nothingHere() *Problem {
	return &Problem{Status: http.StatusNotFound, Code: "not_found", Message: "nothing is served here"}
}

// serveIntent answers the intent as it stands, or as it does at its end if the
// client prefers to wait and there is a place to wait in.
func (s *Server) serveIntent(w http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	w.Header().Add("Vary", "Prefer")
	in, err := s.see(r, text, r.URL.Query().Get("token"))
	if err != nil {
		return nil, err
	}
	s.noteGlance(r.Context(), &in.Intent)
	if d := PreferredWait(r.Header); d > 0 {
		if in.Intent, err = s.Await(r.Context(), in.Intent, d); err == nil {
			WaitApplied(w.Header(), d)
		}
	}
	if s.Pacing != nil && !in.Status.Terminal() {
		s.Pacing.Await(r.Context(), in.ID)
	}
	return nil, s.writeIntent(w, r, http.StatusOK, &in.Intent)
}

// serveEvents answers the events after `since`, as JSON unless a stream is asked
// for. A `since` that cannot be met (of a log that lost its tail) gives them all.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	if wantsStream(r.Header) {
		return s.openStream(w, r, text)
	}
	w.Header().Add("Vary", "Accept")
	since, err := readSince(r.URL.Query())
	if err != nil {
		return nil, err
	}
	seen, err := s.see(r, text, r.URL.Query().Get("token"))
	if err != nil {
		return nil, err
	}
	since = s.AXP.manners(r.Header).after(since)
	after := split(cursor{since: since}.in(seen.Generation))
	if after.generation < seen.Generation {
		after.seq = 0
	}
	in, events, err := s.Store.Events(r.Context(), seen.ID, after.seq)
	if err != nil {
		return nil, err
	}
	s.noteGlance(r.Context(), &in)
	for i := range events {
		events[i].At = events[i].At.UTC()
	}
	if events == nil {
		events = []intent.Event{}
	}
	return nil, writeJSON(w, r, http.StatusOK, struct {
		OK     bool           `json:"ok"`
		Events []intent.Event `json:"events"`
	}{true, events})
}

// glance is for how long one request for an intent counts as watching it, three
// intervals of the default poll: a client that asks again and again is as good as
// an open stream.
const glance = 6 * time.Second

// noteGlance has the intent polled at the pace of a watched one. That it could
// not be told costs latency only.
func (s *Server) noteGlance(ctx context.Context, in *intent.Intent) {
	if !in.Status.Terminal() {
		s.Hub.refresh(ctx, in.ID, time.Now().Add(glance))
	}
}

// writeJSON writes an answer of our own. What is in it can be the backend's
// words: nothing may keep them, and no browser may take them for a page. An error
// says that v is no JSON (a store can damage a result); then nothing was written.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may have left; there is nobody to tell
	}
	return nil
}

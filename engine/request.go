package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// MaxAnswer bounds what is read of an answer to a request of our own, in bytes.
const MaxAnswer = 1 << 20

// UserAgent is sent with every request that no client sent.
const UserAgent = "caddy-intents"

// ask sends a request about an intent and returns the whole answer. An error
// means that no head came; an answer whose body broke off or is too long is cut.
func (e *Engine) ask(ctx context.Context, job *Job, in *intent.Intent, q adapter.Request) (adapter.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, job.Pace.Timeout)
	defer cancel()
	return e.askUntil(ctx, job, in, q)
}

// askUntil is ask with a time limit of the caller's.
func (e *Engine) askUntil(ctx context.Context, job *Job, in *intent.Intent, q adapter.Request) (adapter.Answer, error) {
	r, err := newRequest(ctx, in, q)
	if err != nil {
		return adapter.Answer{}, err
	}
	e.addCopied(r, in)
	rec := recorder{header: make(http.Header)}
	err = job.Backend.Transport.Send(&rec, r)
	switch {
	case rec.code == 0 && err != nil:
		return adapter.Answer{}, err
	case rec.code == 0 && ctx.Err() != nil:
		return adapter.Answer{}, ctx.Err()
	case rec.code == 0:
		// A proxy whose backend switches to another protocol writes nothing. To a client
		// a server would say 200 then, which no job may be done by.
		return adapter.Answer{}, errNoAnswer
	}
	// A transport can take a context that ended for an answer that did.
	cut := rec.cut || err != nil || ctx.Err() != nil
	if rec.head != nil {
		rec.header = rec.head
	}
	return adapter.Answer{Code: rec.code, Header: rec.header, Body: rec.body, Cut: cut}, nil
}

// newRequest builds what a request of ours carries, and nothing else: the
// submit's Host and scheme, our name, and what the job's config says.
func newRequest(ctx context.Context, in *intent.Intent, q adapter.Request) (*http.Request, error) {
	u, err := url.ParseRequestURI(q.URL)
	if err != nil || u.Host != "" || !strings.HasPrefix(q.URL, "/") {
		return nil, errNoPath // and not err, which quotes a query that may be a key
	}
	r := &http.Request{
		Method:     q.Method,
		URL:        u,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     q.Header.Clone(),
		Body:       http.NoBody,
		Host:       in.Host,
		RequestURI: q.URL,
		RemoteAddr: net.JoinHostPort(in.Client, "0"), // else a proxy would leave out X-Forwarded-*
	}
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Header.Set("User-Agent", UserAgent)
	if len(q.Body) > 0 {
		r.Body = io.NopCloser(strings.NewReader(string(q.Body)))
		r.ContentLength = int64(len(q.Body))
	} else if r.Header.Get(keyHeader) != "" {
		r.Body, r.ContentLength = unrepeatable() // it is we who decide about that
	}
	if in.Scheme == "https" {
		// Complete, or a proxy would call it early data.
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return r.WithContext(context.WithValue(ctx, aboutKey{}, in)), nil
}

type aboutKey struct{}

// About is the intent that a request of ours is about; nil in the context of any other.
// Of those that share a request it is one. It is not to be changed.
func About(ctx context.Context) *intent.Intent {
	in, _ := ctx.Value(aboutKey{}).(*intent.Intent)
	return in
}

var errNoPath = fmt.Errorf("%w: the target is not a path", errUnasked)

var errNoAnswer = errors.New("the backend's handler wrote no answer")

// errAnswerTooLong ends the transfer of an answer that nobody will read.
var errAnswerTooLong = errors.New("answer is too long")

// A recorder keeps an answer, up to MaxAnswer bytes of it.
type recorder struct {
	header http.Header
	code   int
	head   http.Header // as it came, if trailers are added to it later
	body   []byte
	cut    bool
}

func (rec *recorder) Header() http.Header { return rec.header }

func (rec *recorder) WriteHeader(code int) {
	if rec.code == 0 && code >= 200 {
		rec.code, rec.head = code, beforeTrailers(rec.header)
	}
}

// beforeTrailers is a copy of a head that announces trailers, nil for any other. A proxy
// adds them to the head after the body, and they are no headers (RFC 9110, section 6.5.1).
func beforeTrailers(h http.Header) http.Header {
	if len(h["Trailer"]) == 0 {
		return nil
	}
	return h.Clone()
}

func (rec *recorder) Write(p []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	if room := MaxAnswer - len(rec.body); len(p) > room {
		rec.body = append(rec.body, p[:room]...)
		rec.cut = true
		return room, errAnswerTooLong
	}
	rec.body = append(rec.body, p...)
	return len(p), nil
}

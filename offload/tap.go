package offload

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// A tap lets an answer through as it comes and keeps a copy, as long as it is one that
// could be given again.
type tap struct {
	http.ResponseWriter
	copied
}

func (t *tap) WriteHeader(code int) {
	t.begin(code, t.Header())
	t.ResponseWriter.WriteHeader(code)
}

func (t *tap) Write(p []byte) (int, error) {
	if t.code == 0 {
		t.begin(http.StatusOK, t.Header())
	}
	t.add(p)
	return t.ResponseWriter.Write(p)
}

// Unwrap lets a proxy reach flushing and deadlines.
func (t *tap) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// copied is what was seen of an answer.
type copied struct {
	before http.Header // set by handlers before us, which do so with every answer
	code   int
	header http.Header
	body   []byte
	long   bool
}

func (c *copied) begin(code int, h http.Header) {
	if c.code == 0 && code >= 200 {
		c.code, c.header = code, h.Clone()
		maps.DeleteFunc(c.header, func(name string, values []string) bool { return slices.Equal(values, c.before[name]) })
	}
}

func (c *copied) add(p []byte) {
	if len(c.body)+len(p) > engine.MaxKept {
		c.long, c.body = true, nil
	}
	if !c.long {
		c.body = append(c.body, p...)
	}
}

// answer returns a 2xx that is whole and not too large, as it is without compression.
func (c *copied) answer() (adapter.Answer, bool) {
	if c.code < 200 || c.code > 299 || c.long || engine.HeadSize(c.header) > engine.MaxKept {
		return adapter.Answer{}, false
	}
	a := adapter.Answer{Code: c.code, Header: c.header, Body: c.body, At: time.Now()}
	switch strings.ToLower(a.Header.Get("Content-Encoding")) {
	case "":
		return a, true
	case "gzip":
		a.Header.Del("Content-Encoding")
		var ok bool
		a.Body, ok = gunzip(c.body)
		return a, ok
	}
	return adapter.Answer{}, false
}

func gunzip(body []byte) ([]byte, bool) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, false
	}
	plain, err := io.ReadAll(io.LimitReader(z, engine.MaxKept+1))
	return plain, err == nil && len(plain) <= engine.MaxKept
}

// readably returns the request with no encoding asked for but one that we can undo.
func readably(r *http.Request) *http.Request {
	encodings := r.Header["Accept-Encoding"]
	if len(encodings) == 0 {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Accept-Encoding")
	for option := range strings.SplitSeq(strings.Join(encodings, ","), ",") {
		name, q, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(option), " ", ""), ";")
		if name == "gzip" && q != "q=0" && !strings.HasPrefix(q, "q=0.0") {
			r.Header.Set("Accept-Encoding", "gzip")
		}
	}
	return r
}

// A hold keeps an answer back until it is known whether the client gets it, or a
// stream instead. What the backend itself streams, and what is too long to be a
// status, goes through at once.
type hold struct {
	w    http.ResponseWriter
	held http.Header
	copied
	passing bool
}

func newHold(w http.ResponseWriter) *hold {
	return &hold{w: w, held: w.Header().Clone(), copied: copied{before: w.Header().Clone()}}
}

func (o *hold) Header() http.Header {
	if o.passing {
		return o.w.Header()
	}
	return o.held
}

func (o *hold) WriteHeader(code int) {
	if code < 200 || o.code != 0 {
		return
	}
	o.begin(code, o.held)
	if code == http.StatusSwitchingProtocols || strings.HasPrefix(o.held.Get("Content-Type"), sse.ContentType) {
		o.pass()
	}
}

func (o *hold) Write(p []byte) (int, error) {
	if o.code == 0 {
		o.WriteHeader(http.StatusOK)
	}
	if !o.passing {
		before := o.body
		if o.add(p); !o.long {
			return len(p), nil
		}
		o.body = before
		o.pass()
	}
	return o.w.Write(p)
}

// FlushError passes a flush on as soon as there is something to flush.
func (o *hold) FlushError() error {
	if !o.passing {
		return nil
	}
	return http.NewResponseController(o.w).Flush()
}

// Unwrap lets a proxy reach deadlines.
func (o *hold) Unwrap() http.ResponseWriter { return o.w }

// pass gives the client what was held back.
func (o *hold) pass() {
	if o.passing {
		return
	}
	o.passing = true
	h := o.w.Header()
	for name := range h {
		if _, ok := o.held[name]; !ok {
			delete(h, name)
		}
	}
	for name, values := range o.held {
		h[name] = slices.Clone(values)
	}
	if o.code != 0 {
		o.w.WriteHeader(o.code)
	}
	if len(o.body) > 0 {
		_, _ = o.w.Write(o.body) // the client may have left; there is nobody to tell
		o.body = nil
	}
}

package offload

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// An Asker is what is known of who asks beyond the request itself.
type Asker struct {
	Scheme string   // http or https, as the client sees it
	Client string   // the client's address, without port
	Prefix string   // stripped from the path before us
	User   string   // as whom an authentication before us let it in; "" if there is none
	Owners []string // of intents that are its own; the first is that of those it makes; nil if intents have no owners
}

// identifiesNobody lists the headers that say nothing about who asks, and whose value
// no backend decides by who may see a job. Every header that is not here separates: a
// scheme that we do not know is never let in on another's admission. What is wrongly
// left out costs a request to the backend; what is wrongly in it is a hole.
var identifiesNobody = []string{
	// What kind of answer is wanted. Which one was given is compared apart.
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Accept-Datetime",
	// About a body or a representation; a request with a body is passed through.
	"Content-Encoding", "Content-Language", "Content-Length", "Content-Location", "Content-Type",
	// Conditions and parts: answered by us, or passed through.
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range",
	// How old an answer may be: no client gets one that the next poll would change.
	"Cache-Control", "Pragma",
	// Where a person came from, and with which program. Anybody can claim both.
	"Referer", "User-Agent",
	// What browsers say of themselves and of the page. They set it alike for all users.
	"Dnt", "Priority", "Save-Data", "Upgrade-Insecure-Requests",
	// How far a stream was read.
	"Last-Event-Id",
	// The connection's own. A Connection header that names others is passed through.
	"Connection", "Keep-Alive", "Te",
	// Names of this one request, new each time.
	"Traceparent", "Tracestate", "X-Request-Id", "X-Correlation-Id", "Request-Id", "X-Trace-Id", "Trace-Id",
	"X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "Sentry-Trace", "Uber-Trace-Id", "B3", "X-B3-Traceid", "X-B3-Spanid",
	"X-B3-Parentspanid", "X-B3-Sampled", "Cf-Ray",
}

// secPrefixes are what browsers say of themselves and of the page; no page can set
// them. Other names that begin with Sec- are anybody's.
var secPrefixes = []string{"Sec-Fetch-", "Sec-Ch-", "Sec-Gpc"}

var nobody = func() map[string]bool {
	names := make(map[string]bool, len(identifiesNobody))
	for _, name := range identifiesNobody {
		names[http.CanonicalHeaderKey(name)] = true
	}
	return names
}()

// separates reports whether a header can tell one client from another.
func separates(name string) bool {
	return !nobody[name] && !slices.ContainsFunc(secPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// owner is that of intents that it makes, "" if it has none.
func (a *Asker) owner() string {
	if len(a.Owners) == 0 {
		return ""
	}
	return a.Owners[0]
}

// owns reports whether an intent with this owner is its own.
func (a *Asker) owns(owner string) bool { return owner != "" && slices.Contains(a.Owners, owner) }

// A credential is what a request for one URL is admitted by: a MAC under a key that
// never leaves memory, so that nothing can be learnt from one.
type credential [sha256.Size]byte

// credentialOf digests who asks for what. The address of the client is part of it: a
// backend may decide by it. So are Host, the name in the TLS handshake and the scheme,
// by which one handler can serve several tenants.
func credentialOf(key []byte, scope, target string, r *http.Request, who *Asker) credential {
	m := digest{Hash: hmac.New(sha256.New, key)}
	m.add(scope, target, strings.ToLower(r.Host), who.Scheme, who.Client, remoteHost(r), who.User, who.owner())
	m.addTLS(r)
	for _, name := range separating(r.Header) {
		m.add(name)
		m.add(r.Header[name]...)
	}
	var c credential
	m.Sum(c[:0])
	return c
}

// separating are the names of the headers that tell clients apart, in order.
func separating(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		if separates(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// remoteHost is the other end of the connection, which is not the client where a
// trusted proxy is in front of us.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Credentials is what a request says of who sends it, for whoever has to tell clients
// apart: every header that is not known to identify nobody, and the client's
// certificate. Headers by one of the names but are left out. It is as secret as what it
// is made of.
func Credentials(r *http.Request, but ...string) []string {
	var all []string
	for _, name := range separating(r.Header) {
		if slices.Contains(but, name) {
			continue
		}
		values := r.Header[name]
		all = append(all, name, strconv.Itoa(len(values)))
		all = append(all, values...)
	}
	if r.TLS != nil {
		for _, cert := range r.TLS.PeerCertificates {
			all = append(all, string(cert.Raw))
		}
	}
	return all
}

// A digest takes texts, each with its length: no two lists of them are the same.
type digest struct{ hash.Hash }

func (d digest) add(texts ...string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(texts)))
	d.Write(n[:])
	for _, text := range texts {
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		d.Write(n[:])
		d.Write([]byte(text))
	}
}

func (d digest) addTLS(r *http.Request) {
	if r.TLS == nil {
		d.add()
		return
	}
	chain := []string{r.TLS.ServerName}
	for _, cert := range r.TLS.PeerCertificates {
		chain = append(chain, string(cert.Raw))
	}
	d.add(chain...)
}

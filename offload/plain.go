package offload

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/observe"
)

// plain reports whether a request asks for a status and nothing else, so that it can
// be answered by whoever knows the status. Only the backend knows what to do with
// any other.
func plain(r *http.Request) bool {
	h := r.Header
	for _, unusual := range []string{"Range", "If-Match", "If-Unmodified-Since", "If-Range", "Expect", "Upgrade", "Trailer"} {
		if len(h[unusual]) > 0 {
			return false
		}
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return false
	}
	for _, list := range h["Connection"] {
		for option := range strings.SplitSeq(list, ",") { // a header named here is not forwarded
			if o := strings.ToLower(strings.TrimSpace(option)); o != "" && o != "keep-alive" && o != "close" && o != "te" {
				return false
			}
		}
	}
	return true
}

// accepts reports whether a client takes an answer of this type.
func accepts(h http.Header, contentType string) bool {
	weights := observe.Weights(h)
	if len(weights) == 0 {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	group, _, _ := strings.Cut(media, "/")
	for _, pattern := range []string{media, group + "/*", "*/*"} { // the most specific one decides
		if weight, ok := weights[pattern]; ok {
			return weight > 0
		}
	}
	return false
}

// fits reports whether an answer can be given to a request of the same credentials as
// own was. What separates clients is equal then, or was admitted; what does not has to
// be compared where the answer varies by it.
func (k *kept) fits(r *http.Request, own *kept) bool {
	if len(k.Header["Content-Encoding"]) > 0 || !accepts(r.Header, k.Header.Get("Content-Type")) {
		return false
	}
	for _, name := range engine.Varies(k.Header) {
		switch {
		case name == "*":
			return false
		case name == "Accept-Encoding": // it has none
		case name == "Accept":
			// The backend has chosen by it; what it chose for this very value is known.
			if !slices.Equal(r.Header[name], own.request[name]) || k.Header.Get("Content-Type") != own.Header.Get("Content-Type") {
				return false
			}
		case !separates(name) && !slices.Equal(r.Header[name], k.request[name]):
			return false
		case separates(name) && name != "Origin" && k.request == nil && !k.copied && len(r.Header[name]) > 0:
			return false // it is other words that the backend has for who sends this, and the poll did not
		}
	}
	return true
}

// unchanged reports whether the client has the answer already (RFC 9110, section
// 13.2.2).
func (k *kept) unchanged(r *http.Request) bool {
	if k.Code != http.StatusOK {
		return false
	}
	if known := strings.Join(r.Header["If-None-Match"], ","); known != "" {
		tag := k.Header.Get("Etag")
		for candidate := range strings.SplitSeq(known, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || tag != "" && strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	if err != nil {
		return false
	}
	modified, err := http.ParseTime(k.Header.Get("Last-Modified"))
	return err == nil && !modified.After(since)
}

// in304 are the headers of a 304 (RFC 9110, section 15.4.5), besides those that a
// browser needs to be shown it.
var in304 = map[string]bool{"Cache-Control": true, "Content-Location": true, "Date": true, "Etag": true, "Expires": true, "Vary": true}

// reply answers a request with what is kept. What browsers ask of other origins is
// answered as it was to these very credentials, of which Origin is one.
func (k *kept) reply(w http.ResponseWriter, r *http.Request, own *kept) {
	h := w.Header()
	unchanged := k.unchanged(r)
	engine.EndToEnd(h, k.Header, func(name string) bool { return !unchanged || in304[name] })
	own.replyCORS(h)
	h.Set("Age", strconv.Itoa(int(max(time.Since(k.At), 0)/time.Second)))
	if unchanged {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(k.Body)))
	w.WriteHeader(k.Code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(k.Body) // the client may have left; there is nobody to tell
	}
}

func (k *kept) replyCORS(h http.Header) {
	for name, values := range k.Header {
		switch {
		case engine.IsCORS(name):
			h[name] = slices.Clone(values)
		case name == "Vary":
			engine.AddVary(h, values)
		}
	}
}

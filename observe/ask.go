package observe

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// An ask is what a client wants of a stream.
type ask struct {
	unnamed   bool
	heartbeat time.Duration
	life      time.Duration // how long the stream lasts at most
	leave     End           // why it ends then
	window    window        // how it may end before
}

func (s *Server) readAsk(r *http.Request) (ask, error) {
	a := ask{leave: EndAge, life: jitter(maxAge, 0.1)}
	var err error
	query := r.URL.Query()
	switch query.Get("names") {
	case "", "on":
	case "off":
		a.unnamed = true
	default:
		return ask{}, BadRequest("names must be on or off")
	}
	if a.heartbeat, err = readSeconds(query, "heartbeat", s.Heartbeat); err != nil {
		return ask{}, err
	}
	m := s.AXP.manners(r.Header)
	wait, err := readSeconds(query, "wait_seconds", m.wait)
	if wait > 0 {
		a.leave, a.life, a.window = EndTimeout, wait, m.window
	}
	return a, err
}

// readSeconds reads a parameter of 1 to 60 whole seconds.
func readSeconds(query url.Values, name string, unless time.Duration) (time.Duration, error) {
	if !query.Has(name) {
		return unless, nil
	}
	n, ok := number(query.Get(name))
	if !ok || n < 1 || n > 60 {
		return 0, BadRequest(name + " must be a number of seconds, 1 to 60")
	}
	return time.Duration(n) * time.Second, nil
}

// wantsStream reports whether a client that could have JSON asks for a stream: it
// names the type, and names none that it would rather have.
func wantsStream(h http.Header) bool {
	stream, other := qualities(h)
	return stream > 0 && stream >= other
}

// qualities are how much a client wants a stream, and the best of what else it takes.
func qualities(h http.Header) (stream, other float64) {
	for media, weight := range Weights(h) {
		if media == sse.ContentType {
			stream = weight
		} else {
			other = max(other, weight)
		}
	}
	return stream, other
}

// Weights are how much a client wants each media type that its Accept names, 0 to 1;
// the most if it names one twice.
func Weights(h http.Header) map[string]float64 {
	weights := make(map[string]float64)
	for part := range strings.SplitSeq(strings.Join(h["Accept"], ","), ",") {
		if media, params, err := mime.ParseMediaType(part); err == nil {
			weights[media] = max(weights[media], quality(params))
		}
	}
	return weights
}

// WantsNothingButStream reports whether a client asks for a stream and for nothing
// else as much: the type stands alone, or alone has the highest quality.
func WantsNothingButStream(h http.Header) bool {
	stream, other := qualities(h)
	return stream > 0 && stream > other
}

// isEventSource reports whether it is a browser's EventSource that asks. It says so
// (client=eventsource), or asks for nothing but a stream as what every browser says it is.
// Others see the status that they are answered, and can do something about a 404.
func isEventSource(r *http.Request) bool {
	return r.Method == http.MethodGet && (saysEventSource(r) ||
		WantsNothingButStream(r.Header) && strings.HasPrefix(r.Header.Get("User-Agent"), "Mozilla/"))
}

func saysEventSource(r *http.Request) bool { return r.URL.Query().Get("client") == "eventsource" }

func quality(params map[string]string) float64 {
	if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q >= 0 && q <= 1 {
		return q
	}
	return 1
}

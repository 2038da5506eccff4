package engine

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A head is what is kept of a request that is delivered later, besides its copied
// headers.
type head struct {
	Method string      `json:"method"`
	Target string      `json:"target"` // path and query
	Header http.Header `json:"header,omitempty"`

	body []byte // kept apart from it
}

// keptHeaders say what the body is and what is wanted in return. Who the client is,
// the copied headers say. Nothing else is kept: it was for another connection.
var keptHeaders = []string{
	"Accept", "Accept-Language", "Baggage", "Content-Encoding", "Content-Language", "Content-Type", "Idempotency-Key", "Prefer",
	"Traceparent", "Tracestate", "X-Correlation-Id", "X-Request-Id", "X-Trace-Id",
}

// outgoingField names what is sealed. A path or a query can be a secret as well as a
// header can.
const outgoingField = "outgoing request"

// headOf makes the head of a request that is sent later, perhaps more than once: it has
// a key by which the backend can tell, whatever the config says of that by then.
func headOf(r *http.Request, id intent.ID) head {
	h := head{Method: r.Method, Target: r.URL.RequestURI(), Header: make(http.Header)}
	for name, values := range r.Header {
		if slices.Contains(keptHeaders, name) {
			h.Header[name] = values
		}
	}
	acceptNoStream(h.Header)
	preferNoWait(h.Header)
	if h.Header.Get(keyHeader) == "" {
		h.Header.Set(keyHeader, id.String())
	}
	return h
}

const keyHeader = "Idempotency-Key"

var errNoSealer = errors.New("there is no secret to keep a request with")

func (e *Engine) sealHead(id intent.ID, h head) (string, error) {
	sealer := e.settings.Load().Sealer
	if sealer == nil {
		return "", errNoSealer
	}
	plain, err := json.Marshal(h)
	if err != nil {
		panic("engine: a head cannot be written as JSON: " + err.Error()) // it is texts
	}
	return base64.RawStdEncoding.EncodeToString(sealer.Seal(id, outgoingField, plain)), nil
}

// openHead returns the head of an intent that is to be delivered.
func (e *Engine) openHead(in *intent.Intent) (h head, err error) {
	sealer := e.settings.Load().Sealer
	if sealer == nil {
		return h, errNoSealer
	}
	sealed, err := base64.RawStdEncoding.DecodeString(in.Outgoing.Head)
	if err != nil {
		return h, err
	}
	plain, err := sealer.Open(in.ID, outgoingField, sealed)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(plain, &h); err != nil {
		return h, err
	}
	h.body, err = e.OpenBody(in)
	return h, err
}

// path is the escaped path of the target.
func (h head) path() string {
	path, _, _ := strings.Cut(h.Target, "?")
	return path
}

// request is the request as it is delivered.
func (h head) request() adapter.Request {
	return adapter.Request{Method: h.Method, URL: h.Target, Header: h.Header, Body: h.body}
}

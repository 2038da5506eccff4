package observe

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// AXP is what a Server does beyond its own ways for AXME's SDKs and CLI. All that is
// peculiar to them is in this file; everybody else is served as if it were not there.
// A nil *AXP bears with nobody.
type AXP struct {
	IntentTypes []string // what can be created, at least one: the names of the jobs
}

// capabilities are what a client may expect here of all that AXP has. There are no
// agents, inboxes, approvals, scenarios or webhooks to speak of.
var capabilities = []string{
	"intents.create", "intents.get", "intents.list", "intents.events", "intents.stream", "intents.cancel",
}

// manners are how one client of AXME's wants to be treated. The zero value is for
// everybody else.
type manners struct {
	// wait is how long a stream lasts if the client does not say: its `wait_seconds` is
	// 15 by default, and one that waits for the response to end would wait for ever.
	wait time.Duration

	// inclusive: `since` is the first event that the client wants, not the last one it
	// has seen.
	inclusive bool

	window
}

// A window is how the answer to a stream with `wait_seconds` ends ahead of that time.
type window struct {
	brief  bool // with the first events that it brings
	marked bool // with stream.timeout even after the terminal event
	soft   bool // with stream.timeout when the server goes away
}

// usualWindow is the `wait_seconds` of AXME's SDKs and CLI.
const usualWindow = 15 * time.Second

// manners looks at X-Axme-Client, the one header that tells clients apart: none of
// them asks for a stream by Accept, and none sends Last-Event-ID. An EventSource
// cannot send it, so that pages on the same URL have streams which last.
func (a *AXP) manners(h http.Header) manners {
	name, _, _ := strings.Cut(h.Get("X-Axme-Client"), "/")
	if a == nil || !strings.HasPrefix(name, "axme-") {
		return manners{}
	}
	// They raise an error when a response is cut, and come back when a window is over.
	m := manners{wait: usualWindow, window: window{soft: true}}
	switch name {
	case "axme-sdk-typescript":
		// It reads the whole response before it hands out the first event: a window that
		// stayed open would keep each event from its user for up to 15 seconds.
		m.brief = true
	case "axme-cli":
		// `intents watch` begins with since=1 and goes on with the next_seq that it is
		// told, taking both for the first event that it gets; and it goes on after the
		// end, too. Without a next_seq there it asks for the seq it saw last, which is
		// the terminal event, over and over without a pause.
		m.inclusive, m.marked = true, true
	}
	return m
}

// after is the cursor that a client's `since` means.
func (m manners) after(since int64) int64 {
	if m.inclusive && since > 0 {
		return since - 1
	}
	return since
}

// camelWords are a create request as AXME's samples for TypeScript write it, against
// the protocol's own schema.
type camelWords struct {
	IntentType    string          `json:"intentType"`
	Payload       json.RawMessage `json:"payload"`
	CorrelationID string          `json:"correlationId"`
	From          string          `json:"fromAgent"`
	To            string          `json:"toAgent"`
	DeadlineAt    *time.Time      `json:"deadlineAt"`
	TTL           *int64          `json:"ttlSeconds"`
	MaxAttempts   *int            `json:"maxDeliveryAttempts"`
}

func (a *AXP) readWords(body []byte, said *creationWords) error {
	if err := json.Unmarshal(body, said); err != nil || a == nil || said.IntentType != "" {
		return err
	}
	var camel camelWords
	err := json.Unmarshal(body, &camel)
	if camel.IntentType != "" {
		*said = creationWords(camel)
	}
	return err
}

// statusesElsewhere are those of AXP that no intent here ever has. Clients may ask for
// intents in them, and get none.
var statusesElsewhere = []intent.Status{"ACKNOWLEDGED", "WAITING"}

func (a *AXP) knows(s intent.Status) bool {
	return slices.Contains(intent.Statuses(), s) || a != nil && slices.Contains(statusesElsewhere, s)
}

// maxTrace bounds a trace id that is echoed; AXME's are UUIDs.
const maxTrace = 128

// Head sets what the head of an answer of ours needs: clients put the X-Trace-Id of an
// answer into the errors that they raise.
func (a *AXP) Head(h http.Header, r *http.Request) {
	if trace := r.Header.Get("X-Trace-Id"); a != nil && trace != "" && len(trace) <= maxTrace {
		h.Set("X-Trace-Id", trace)
	}
}

// Health answers that intents are served. CLIs show the service's name.
func (a *AXP) Health(w http.ResponseWriter, r *http.Request) {
	_ = writeJSON(w, r, http.StatusOK, struct { // always JSON
		OK      bool   `json:"ok"`
		Service string `json:"service"`
	}{true, "caddy-intents"})
}

// Capabilities answers what can be done here, and with which types of intents.
func (a *AXP) Capabilities(w http.ResponseWriter, r *http.Request) {
	_ = writeJSON(w, r, http.StatusOK, struct { // always JSON
		OK           bool     `json:"ok"`
		Capabilities []string `json:"capabilities"`
		IntentTypes  []string `json:"supported_intent_types"`
	}{true, capabilities, a.IntentTypes})
}

// axpRoutes are what AXP has under the path besides ours.
var axpRoutes = []route{
	{http.MethodPost, "bulk-cancel", (*Server).serveBulkCancel},
	{http.MethodPost, "{id}/resume", (*Server).serveElsewhere},
	{http.MethodPost, "{id}/controls", (*Server).serveElsewhere},
	{http.MethodPost, "{id}/policy", (*Server).serveElsewhere},
}

// served are the routes of this server.
func (s *Server) served() []route {
	if s.AXP == nil {
		return routes
	}
	return slices.Concat(axpRoutes, routes)
}

// serveElsewhere answers what steers an agent: nobody here can tell a job how to go on.
// Clients that may not see the intent learn nothing else.
func (s *Server) serveElsewhere(_ http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	if _, err := s.find(r.Context(), text); err != nil {
		return nil, err
	}
	return nil, &Problem{
		Status: http.StatusNotImplemented, Code: "not_supported",
		Message: "this intent is a job of a backend, which cannot be resumed, steered or given a policy; it can be canceled",
	}
}

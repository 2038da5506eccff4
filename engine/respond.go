package engine

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Respond says how the client of a submit learns of its intent. Every way sets
// Intent-Id and Link.
type Respond string

const (
	RespondMerge     Respond = "merge"     // the backend's answer with intent_id and observe_url added to its JSON object
	RespondUntouched Respond = "untouched" // the backend's answer as it is
	RespondIntent    Respond = "intent"    // 202 with the intent; it is stored ahead of the request
)

// Responds lists the ways to respond.
func Responds() []Respond { return []Respond{RespondMerge, RespondUntouched, RespondIntent} }

// respond answers the client now that the intent is stored.
func (x *exchange) respond(in *intent.Intent, cut bool) {
	base := x.submission.Base + "/" + in.ID.String()
	h := x.Header()
	h.Set("Intent-Id", in.ID.String())
	h.Add("Link", "<"+base+`>; rel="status"`)
	switch x.submission.Job.Respond {
	case RespondIntent:
		x.done, x.held = true, nil
		x.dropBackendHeaders()
		x.submission.Present(x.w, in)
		return
	case RespondMerge:
		// A final answer is the result itself: it stays as it is.
		if merged, ok := merge(x.held, in.ID.String(), base+"/events/stream"); ok && !cut && !in.Status.Terminal() && mayChange(h) {
			x.held = merged
			h.Set("Content-Length", strconv.Itoa(len(merged)))
			for _, name := range []string{"Etag", "Digest", "Content-Digest", "Repr-Digest", "Content-Md5"} {
				delete(h, name)
			}
		}
	}
	x.pass()
}

// dropBackendHeaders takes back the headers of an answer that is not sent. What
// was set before, by the handlers around us, stays; so does what a browser needs
// to be shown any answer at all.
func (x *exchange) dropBackendHeaders() {
	h := x.Header()
	for name := range h {
		before, ok := x.before[name]
		switch {
		case name == "Intent-Id", name == "Link", name == "Vary", strings.HasPrefix(name, "Access-Control-"):
		case ok:
			h[name] = before
		default:
			delete(h, name)
		}
	}
}

// mayChange reports whether a body under these headers may be changed on the way.
func mayChange(h http.Header) bool {
	for name := range h {
		if strings.HasSuffix(name, "Signature") || name == "Signature-Input" {
			return false
		}
	}
	for _, v := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-transform") {
				return false
			}
		}
	}
	encoding := h.Get("Content-Encoding")
	return encoding == "" || strings.EqualFold(encoding, "identity")
}

// merge adds two members before the last brace of a JSON object, as text: every
// byte that the backend wrote stays as it is, numbers and order included. It does
// nothing if body is no object or has one of the keys.
func merge(body []byte, id, observeURL string) ([]byte, bool) {
	keys, ok := objectKeys(body)
	if !ok || slices.Contains(keys, "intent_id") || slices.Contains(keys, "observe_url") {
		return nil, false
	}
	end := bytes.LastIndexByte(body, '}')
	members := `"intent_id":` + quote(id) + `,"observe_url":` + quote(observeURL)
	if len(keys) > 0 {
		members = "," + members
	}
	return slices.Concat(body[:end], []byte(members), body[end:]), true
}

// objectKeys returns the keys of a JSON object.
func objectKeys(body []byte) ([]string, bool) {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(body) {
		return nil, false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil, false
	}
	keys := make([]string, 0, len(members))
	for k := range members {
		keys = append(keys, k)
	}
	return keys, true
}

func quote(s string) string {
	q, _ := json.Marshal(s) // a string cannot fail
	return string(q)
}

package engine

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-intents/caddy-intents/adapter"
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

// A reply is what the client of a submit gets.
type reply struct {
	code    int
	header  http.Header // those of the ResponseWriter, as they are to be sent
	body    []byte
	merged  bool   // body is the backend's with our members
	whole   bool   // body is all of it: it can be kept to answer repeats
	present func() // writes it all instead; nil if there is no need
}

// compose makes the reply to a submit that made an intent. It changes the headers
// of the answer and nothing else.
func (x *exchange) compose(in *intent.Intent, cut bool) reply {
	r := x.composeAtOnce(in, cut)
	if x.submission.Await == nil || r.present != nil || cut {
		return r
	}
	r.present = func() {
		x.hold(in, func() {
			x.w.WriteHeader(r.code)
			_, _ = x.w.Write(r.body) // the client may have left
		})
	}
	return r
}

// hold answers with the last word of the backend, if the client wants to wait for it and
// it comes in time, and else with what there is.
func (x *exchange) hold(in *intent.Intent, atOnce func()) {
	if x.submission.Await == nil {
		atOnce()
		return
	}
	if x.submission.Applied != nil {
		x.submission.Applied(x.Header())
		x.decorate()
	}
	if final := x.submission.Await(in); final != nil {
		x.sendFinal(final)
		return
	}
	atOnce()
}

func (x *exchange) decorate() {
	if x.submission.Decorate != nil {
		x.submission.Decorate(x.Header())
	}
}

// introduce says in the head of an answer which intent there is.
func (x *exchange) introduce(in *intent.Intent) {
	x.Header().Set("Intent-Id", in.ID.String())
	x.Header().Add("Link", "<"+x.submission.Base+"/"+in.ID.String()+`>; rel="status"`)
	x.decorate()
}

// sendFinal answers a submit with the final status answer, in the backend's words. Who
// may see it across origins is what the answer to the submit itself says, and so is a
// session that the backend has opened then.
func (x *exchange) sendFinal(final *adapter.Answer) {
	h := x.Header()
	ours := make(http.Header)
	for _, name := range []string{"Idempotency-Replayed", "Intent-Id", "Link", "Preference-Applied", "Set-Cookie"} {
		ours[name] = h[name]
	}
	x.dropBackendHeaders()
	EndToEnd(h, final.Header, func(name string) bool { return name != "Date" && name != "Via" })
	maps.Copy(h, ours)
	x.w.WriteHeader(final.Code)
	_, _ = x.w.Write(final.Body) // the client may have left
}

// presents reports whether the client is answered with the intent.
func (x *exchange) presents() bool {
	return x.submission.Queue != nil || x.submission.Job.Respond == RespondIntent
}

func (x *exchange) composeAtOnce(in *intent.Intent, cut bool) reply {
	base := x.submission.Base + "/" + in.ID.String()
	h := x.Header()
	if x.submission.Stream != nil || x.presents() {
		x.dropBackendHeaders()
	}
	x.introduce(in)
	switch {
	case x.submission.Stream != nil:
		return reply{present: func() { x.submission.Stream(x.w, in) }}
	case x.presents():
		rendered := recorder{header: h}
		x.submission.Present(&rendered, in)
		return reply{code: rendered.code, header: h, body: rendered.body, whole: true}
	case x.submission.Job.Respond == RespondMerge && !cut && mayChange(h):
		if in.Status.Terminal() {
			break // the answer is the result itself
		}
		merged, ok := merge(x.held, in.ID.String(), x.observeURL(in.ID, base))
		if !ok {
			break
		}
		h.Set("Content-Length", strconv.Itoa(len(merged)))
		for _, name := range []string{"Etag", "Digest", "Content-Digest", "Repr-Digest", "Content-Md5", "Trailer"} {
			h.Del(name)
		}
		return reply{code: x.code, header: h, body: merged, whole: true, merged: true}
	}
	return reply{code: x.code, header: h, body: x.held, whole: !cut}
}

func (x *exchange) observeURL(id intent.ID, base string) string {
	if x.submission.ObserveURL != nil {
		return x.submission.ObserveURL(id)
	}
	return base + "/events/stream"
}

// send sends a reply of ours, or what of the backend's answer there is so far. What
// is presented waits until the backend's answer has been read: it may go on for as
// long as the intent does.
func (x *exchange) send(r reply) {
	switch {
	case r.present != nil:
		x.done, x.present, x.held = true, r.present, nil
	case x.presents():
		x.done, x.held = true, nil
		x.present = func() {
			x.w.WriteHeader(r.code)
			_, _ = x.w.Write(r.body) // the client may have left
		}
	default:
		x.held = r.body
		x.pass()
	}
}

// restore puts the headers back to what they were.
func (x *exchange) restore(plain http.Header) {
	h := x.Header()
	clear(h)
	maps.Copy(h, plain)
}

// dropBackendHeaders takes back the headers of an answer that is not sent. What
// was set before, by the handlers around us, stays; so does what a browser needs
// to be shown any answer at all, and a session that the backend has opened.
func (x *exchange) dropBackendHeaders() {
	h := x.Header()
	for name := range h {
		before, ok := x.before[name]
		switch {
		case name == "Vary", name == "Set-Cookie", IsCORS(name):
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
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, false
	}
	var members map[string]unread
	if json.Unmarshal(body, &members) != nil {
		return nil, false
	}
	keys := make([]string, 0, len(members))
	for k := range members {
		keys = append(keys, k)
	}
	return keys, true
}

// An unread is a JSON value whose content nobody asks for.
type unread struct{}

func (*unread) UnmarshalJSON([]byte) error { return nil }

func quote(s string) string {
	q, _ := json.Marshal(s) // a string cannot fail
	return string(q)
}

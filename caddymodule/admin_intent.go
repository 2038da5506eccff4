package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
)

// A detail is all that is known of an intent.
type detail struct {
	row
	Store      string            `json:"store"`
	DeadlineAt time.Time         `json:"deadline_at,omitzero"`
	Host       string            `json:"host,omitempty"`
	Client     string            `json:"client,omitempty"`
	Owned      bool              `json:"owned,omitempty"` // whose it is, is kept as a hash only
	Params     map[string]string `json:"params,omitempty"`
	StatusURL  string            `json:"status_url,omitempty"` // without its query, where keys may be
	Result     json.RawMessage   `json:"result,omitempty"`
	ResultURL  string            `json:"result_url,omitempty"`
	Attempts   int               `json:"delivery_attempts,omitempty"` // of a queued submit
	Cancel     intent.Cancel     `json:"cancel,omitempty"`            // what is known of cancels that were sent to the backend
	Unreadable string            `json:"unreadable_for,omitempty"`    // give_up bounds it
	Missing    string            `json:"missing_for,omitempty"`       // poll grace bounds it
	QueuedTill time.Time         `json:"queued_until,omitzero"`       // when a submit that waits is given up
	ExpiresAt  time.Time         `json:"expires_at,omitzero"`         // when an ended intent is removed
	Holder     holder            `json:"holder"`
	Watchers   watchers          `json:"watchers"`
	LastPoll   *lastPoll         `json:"last_poll,omitempty"`
	Unknown    *unknownWord      `json:"unknown,omitempty"`
	Events     []intent.Event    `json:"events"`
}

// A holder is who works on an intent.
type holder struct {
	Here  bool         `json:"here"` // this process
	Epoch int64        `json:"epoch,omitempty"`
	Doing engine.Doing `json:"doing,omitempty"`
}

// watchers are those who follow an intent.
type watchers struct {
	Streams int       `json:"streams"`        // open ones, of this process
	Until   time.Time `json:"until,omitzero"` // somebody follows it at least until then, for its polls
}

// A lastPoll is what the last poll brought.
type lastPoll struct {
	At          time.Time        `json:"at"`
	ConfirmedAt time.Time        `json:"confirmed_at,omitzero"` // a later one was told that nothing has changed
	Code        int              `json:"code,omitempty"`        // 0: no answer
	Outcome     string           `json:"outcome,omitempty"`
	Reason      string           `json:"reason,omitempty"`
	Err         string           `json:"error,omitempty"`
	Shared      bool             `json:"shared,omitempty"`   // about several jobs: its body is not kept
	Body        string           `json:"body,omitempty"`     // its beginning, without what looks like a secret
	BodyCut     bool             `json:"body_cut,omitempty"` // there is more of it
	Decided     []adapter.Reason `json:"decided,omitempty"`  // what was found, and the lines that find it
}

// An unknownWord is a state that the config does not map, and what to write.
type unknownWord struct {
	Word   string   `json:"word"`
	Job    string   `json:"job"`           // in whose block it has to be said
	Within string   `json:"within"`        // the line that begins the block with the words
	Add    string   `json:"add,omitempty"` // the line to add there, if the word means that the job is done; "" if no line can say it
	Or     []string `json:"or"`            // what it may mean instead
}

func (s openStore) detail(ctx context.Context, id intent.ID) (*detail, error) {
	in, events, err := s.store.Events(ctx, id, 0)
	if err != nil {
		return nil, err
	}
	i := s.engine.Inspect(&in)
	v := &detail{
		row: s.row(&in), Store: s.address, DeadlineAt: in.Deadline.UTC(), Host: in.Host, Client: in.Client, Owned: in.Owner != "",
		Params: i.Params, Result: in.Result, ResultURL: in.ResultURL, Attempts: in.Attempts, Cancel: in.Cancel, ExpiresAt: in.Expires.UTC(),
		Unreadable: spell(in.Unreadable), Missing: spell(in.Missing),
		Holder:   holder{i.Held, i.Epoch, i.Doing},
		Watchers: watchers{s.hub.ObserversOf(id), i.Watched.UTC()},
		LastPoll: newLastPoll(i.Last), Unknown: newUnknownWord(&in, i), Events: slices.Concat([]intent.Event{}, events),
	}
	if !json.Valid(v.Result) {
		v.Result = nil
	}
	var query bool
	if v.StatusURL, _, query = strings.Cut(in.StatusURL, "?"); query {
		v.StatusURL += "?..."
	}
	if in.Outgoing != nil {
		v.QueuedTill = in.Outgoing.Until.UTC()
	}
	return v, nil
}

func spell(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.Round(time.Millisecond).String()
}

func newLastPoll(p *engine.LastPoll) *lastPoll {
	if p == nil {
		return nil
	}
	return &lastPoll{
		At: p.At.UTC(), ConfirmedAt: p.Confirmed.UTC(), Code: p.Code, Outcome: p.Outcome, Reason: p.Reason, Err: p.Err,
		Shared: p.Shared, Body: p.Body, BodyCut: p.More, Decided: p.Reasons,
	}
}

// newUnknownWord says what to write so that the word is known: nil if there is none.
func newUnknownWord(in *intent.Intent, i engine.Inspection) *unknownWord {
	if in.UnknownState == "" || in.Status.Terminal() {
		return nil
	}
	return &unknownWord{
		Word: in.UnknownState, Job: in.Job,
		Within: strings.TrimSpace("state " + token(i.StateExpr)), Add: lineFor(in.UnknownState),
		Or: slices.DeleteFunc(adapter.StatusNames(), func(s string) bool { return s == "completed" }),
	}
}

// longestWord is how much of a word can be compared, in bytes: of one that is so long, or
// almost, a part may have been cut off.
const longestWord = 128

// lineFor is the line that makes a word mean completed; "" if there is none, as for a word
// that the Caddyfile would read as something else.
func lineFor(word string) string {
	line := "completed " + quoted(word)
	tokens, err := caddyfile.Tokenize([]byte(line), "")
	if err != nil || len(word) > longestWord-utf8.UTFMax || strings.Contains(word, "{$") {
		return ""
	}
	d, s := caddyfile.NewDispenser(tokens), new(adapter.State)
	if !d.Next() || parseStateWords(d, s, "completed") != nil || !slices.Equal(s.Words["completed"], []string{word}) {
		return ""
	}
	return line
}

// A detailAnswer is what is answered about one intent.
type detailAnswer struct {
	OK       bool    `json:"ok"`
	Delivery bool    `json:"delivery,omitempty"` // a delivery was tried instead of a poll
	Intent   *detail `json:"intent"`
}

// answerDetail answers with an intent as it stands.
func answerDetail(w http.ResponseWriter, r *http.Request, s openStore, id intent.ID) error {
	v, err := s.detail(r.Context(), id)
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusOK, detailAnswer{OK: true, Intent: v})
}

func serveIntent(w http.ResponseWriter, r *http.Request) error {
	s, in, err := storeOf(r)
	if err != nil {
		return err
	}
	return answerDetail(w, r, s, in.ID)
}

// serveAction does something to an intent.
func serveAction(w http.ResponseWriter, r *http.Request) error {
	do, ok := map[string]func(http.ResponseWriter, *http.Request) error{
		"poll": servePoll, "cancel": serveAdminCancel, "end": serveEnd,
	}[r.PathValue("action")]
	if !ok {
		return serveNothing(w, r)
	}
	return do(w, r)
}

// How long an operator waits for a poll, and for an intent to be let go of by one that
// is under way.
const (
	pollPatience = 15 * time.Second
	endPatience  = 30 * time.Second
)

// servePoll has an intent polled now, and answers with what came of it: 202 if that is
// not there in time. Of a submit that waits in a queue it is the next try to deliver it.
func servePoll(w http.ResponseWriter, r *http.Request) error {
	s, in, err := storeOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), pollPatience)
	defer cancel()
	code := http.StatusOK
	if err := s.engine.PollNow(ctx, in.ID); errors.Is(err, engine.ErrNotYet) {
		code = http.StatusAccepted
	} else if err != nil {
		return err
	}
	v, err := s.detail(r.Context(), in.ID)
	if err != nil {
		return err
	}
	return answerJSON(w, code, detailAnswer{OK: true, Delivery: in.Outgoing != nil, Intent: v})
}

// serveAdminCancel cancels the job at the backend and with it the intent.
func serveAdminCancel(w http.ResponseWriter, r *http.Request) error {
	s, in, err := storeOf(r)
	if err != nil {
		return err
	}
	var said struct {
		Reason string `json:"reason"`
	}
	if err := readBody(r, &said); err != nil {
		return err
	}
	if _, err := s.engine.Cancel(r.Context(), in.ID, engine.Cancellation{Reason: said.Reason}); err != nil {
		return err
	}
	return answerDetail(w, r, s, in.ID)
}

// serveEnd ends an intent without a word to the backend.
func serveEnd(w http.ResponseWriter, r *http.Request) error {
	s, in, err := storeOf(r)
	if err != nil {
		return err
	}
	var said struct {
		Reason   string          `json:"reason"`
		Status   string          `json:"status"`
		Category intent.Category `json:"category"`
	}
	if err := readBody(r, &said); err != nil {
		return err
	}
	ending := engine.Ending{Reason: said.Reason, Status: intent.Status(strings.ToUpper(said.Status)), Category: said.Category}
	if !slices.Contains([]intent.Status{"", intent.Failed, intent.Canceled}, ending.Status) {
		return observe.BadRequest(fmt.Sprintf("status: %q is not how an operator can end an intent; write CANCELED or FAILED", said.Status))
	}
	if !slices.Contains([]intent.Category{"", intent.ByClient, intent.ByGateway}, ending.Category) {
		return observe.BadRequest(fmt.Sprintf("category: %q is not whose error it can be; write client or gateway", said.Category))
	}
	ctx, cancel := context.WithTimeout(r.Context(), endPatience)
	defer cancel()
	if _, err := s.engine.End(ctx, in.ID, ending); err != nil {
		return err
	}
	return answerDetail(w, r, s, in.ID)
}

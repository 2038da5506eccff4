package caddymodule

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/webhook"
)

// A letter is a webhook message that was not taken (yet).
type letter struct {
	ID        string           `json:"id"` // its Webhook-Id
	IntentID  intent.ID        `json:"intent_id"`
	Scope     string           `json:"scope"`
	Job       string           `json:"job"`
	Seq       int64            `json:"seq"`
	EventType intent.EventType `json:"event_type"`
	EventAt   time.Time        `json:"event_at"`
	To        string           `json:"to"` // without a query, where keys may be; "" if it is not known any more
	Attempts  int              `json:"attempts"`
	Failure   string           `json:"failure,omitempty"` // of the last try
	Dead      bool             `json:"dead"`              // given up
	DueAt     time.Time        `json:"due_at,omitzero"`   // of the next try
	GivenUpAt time.Time        `json:"given_up_at,omitzero"`
}

func (s openStore) letter(m *store.Message) letter {
	v := letter{
		ID: webhook.IDOf(m.MessageID), IntentID: m.Intent, Scope: m.Scope, Job: m.Job, Seq: m.Seq, EventType: m.Event.Type,
		EventAt: m.Event.At.UTC(), Attempts: m.Attempts, Failure: m.Failure, Dead: m.Dead,
	}
	if m.Dead {
		v.GivenUpAt = m.Due.UTC()
	} else {
		v.DueAt = m.Due.UTC()
	}
	if target, err := lookUp(s.engine, m); err == nil {
		if u, err := url.Parse(target.URL); err == nil {
			v.To = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
		}
	}
	return v
}

// Bounds of one page of messages.
const (
	letterStep = 200
	maxLooked  = 4000
)

// serveLetters answers the messages that were given up, or with all=true those too that
// are on their way.
func serveLetters(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, "all", "limit", "after")
	if err != nil {
		return err
	}
	all, err := readBool(q, "all")
	if err != nil {
		return err
	}
	limit, err := readLimit(q)
	if err != nil {
		return err
	}
	picks := func(m *store.Message) bool { return all || m.Dead }
	open, err := openStores(q)
	if err != nil {
		return err
	}
	answer := struct {
		OK       bool     `json:"ok"`
		Messages []letter `json:"messages"`
		Next     string   `json:"next,omitempty"` // what to ask for as `after`
	}{OK: true, Messages: []letter{}}
	after, err := readPlace(q.Get("after"))
	if err != nil {
		return err
	}
	for _, s := range open { // in order: the messages of one store come after those of another
		if s.address < after.Store {
			continue
		}
		if s.address > after.Store {
			after = letterPlace{Store: s.address}
		}
		page, more, err := s.letters(r.Context(), picks, limit-len(answer.Messages), &after)
		if err != nil {
			return err
		}
		answer.Messages = append(answer.Messages, page...)
		if more {
			answer.Next = after.String()
			break
		}
	}
	return answerJSON(w, http.StatusOK, answer)
}

// A letterPlace is a place among the messages of all stores. It stays one when the message
// there is gone.
type letterPlace struct {
	Store string `json:"store"`
	store.MessageID
}

func (p letterPlace) String() string {
	text, _ := json.Marshal(p) // of nothing that can fail
	return base64.RawURLEncoding.EncodeToString(text)
}

// readPlace reads what String wrote; nothing is the place before all.
func readPlace(said string) (p letterPlace, err error) {
	if said == "" {
		return p, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(said)
	if err != nil || json.Unmarshal(text, &p) != nil {
		return p, observe.BadRequest(fmt.Sprintf("after: %q is not the next of a page", said))
	}
	return p, nil
}

// letters looks for so many messages from a place on, which it moves, and tells whether
// there may be more.
func (s openStore) letters(ctx context.Context, picks func(*store.Message) bool, limit int, from *letterPlace) (found []letter, more bool, err error) {
	for range maxLooked / letterStep {
		page, err := s.store.Messages(ctx, from.MessageID, letterStep)
		if err != nil || len(page) == 0 { // a short one may have more after it: some were discarded meanwhile
			return found, false, err
		}
		for i := range page {
			if len(found) == limit {
				return found, true, nil
			}
			from.MessageID = page[i].MessageID
			if picks(&page[i]) {
				found = append(found, s.letter(&page[i]))
			}
		}
	}
	return found, true, nil
}

// letterOf finds the message that a request names, and the store that has it.
func letterOf(r *http.Request) (openStore, store.Message, error) {
	open, err := storesOf(r)
	if err != nil {
		return openStore{}, store.Message{}, err
	}
	id := r.PathValue("id")
	for _, s := range open {
		var m store.Message
		if m, err = webhook.Find(r.Context(), s.store, id); err == nil {
			return s, m, nil
		}
	}
	return openStore{}, store.Message{}, letterProblem(id, err)
}

func letterProblem(id string, err error) error {
	if p := adminProblem(err); p.Status == http.StatusNotFound {
		return &observe.Problem{Status: http.StatusNotFound, Code: "not_found", Message: "no such message: it was taken, discarded, or never was"}
	}
	if errors.Is(err, webhook.ErrBadID) {
		return observe.BadRequest(fmt.Sprintf("%q is no message's id", id))
	}
	return err
}

// answerLetter answers with a message and its event.
func answerLetter(w http.ResponseWriter, s openStore, m *store.Message) error {
	return answerJSON(w, http.StatusOK, struct {
		OK      bool         `json:"ok"`
		Message letter       `json:"message"`
		Event   intent.Event `json:"event"`
	}{true, s.letter(m), m.Event})
}

func serveLetter(w http.ResponseWriter, r *http.Request) error {
	s, m, err := letterOf(r)
	if err != nil {
		return err
	}
	return answerLetter(w, s, &m)
}

// serveReplay has a message that was given up sent again, as if it were new.
func serveReplay(w http.ResponseWriter, r *http.Request) error {
	s, m, err := letterOf(r)
	switch {
	case err != nil:
		return err
	case !m.Dead:
		return &observe.Problem{Status: http.StatusConflict, Code: "not_dead", Message: "it was not given up: the next try comes by itself at " + m.Due.UTC().Format(time.RFC3339)}
	}
	m.Dead, m.Attempts, m.Due = false, 0, s.store.Now()
	if err := s.store.Keep(r.Context(), m); err != nil {
		return letterProblem(r.PathValue("id"), err)
	}
	s.sender.Wake()
	return answerLetter(w, s, &m)
}

func serveDiscard(w http.ResponseWriter, r *http.Request) error {
	s, m, err := letterOf(r)
	if err != nil {
		return err
	}
	if err := s.store.Discard(r.Context(), m.MessageID); err != nil {
		return err
	}
	return answerLetter(w, s, &m)
}

package boltstore

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A sift tells from the stored text of an intent that a filter cannot pick it. To
// decode thousands of intents of which none is wanted takes ten times as long.
//
// It may let through what the filter then does not pick, and never the reverse:
// what it looks for stands in the text of whatever is picked, written by the same
// encoder, though what looks like it can also stand in parts that are not ours.
type sift struct {
	origin, latest [][]byte  // all of these are in the text
	still          time.Time // what was done, was done before this; zero for whenever
}

func newSift(f *store.Filter) sift {
	s := sift{still: f.Moved}
	s.origin = wanted(s.origin, "scope", f.Scope)
	s.origin = wanted(s.origin, "job", f.Job)
	s.latest = wanted(s.latest, "status", string(f.Status))
	s.latest = wanted(s.latest, "waiting", f.Waiting)
	s.latest = wanted(s.latest, "unknown_state", f.Unknown)
	return s
}

// wanted adds what an intent has in its text if a filter wants value under key, or any.
func wanted(all [][]byte, key, value string) [][]byte {
	if value == "" {
		return all
	}
	text := []byte(key + `":`) // without the quote before it, of which a text has many
	if value != store.Any {
		word, _ := json.Marshal(value) // a string always can be
		text = append(text, word...)
	}
	return append(all, text)
}

// passes reports whether the intent has to be decoded to know whether it is picked.
func (s *sift) passes(t *txn, id intent.ID, r *record) bool {
	if !hasAll(r.latest, s.latest) || !s.stillEnough(r.latest) {
		return false
	}
	return len(s.origin) == 0 || hasAll(t.origin.Get(id[:]), s.origin)
}

func hasAll(text []byte, parts [][]byte) bool {
	for _, p := range parts {
		if !bytes.Contains(text, p) {
			return false
		}
	}
	return true
}

// stillEnough is false if all that could say when the job last did something says that
// it was lately. Where nothing says so, it may have been long ago.
func (s *sift) stillEnough(text []byte) bool {
	if s.still.IsZero() {
		return true
	}
	for said := false; ; said = true {
		_, rest, found := bytes.Cut(text, []byte(`moved":"`))
		if !found {
			return !said
		}
		word, _, _ := bytes.Cut(rest, []byte(`"`))
		at, err := time.Parse(time.RFC3339Nano, string(word))
		if err != nil || at.Before(s.still) {
			return true
		}
		text = rest
	}
}

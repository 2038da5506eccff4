package observe

import (
	"encoding/json"
	"net/http"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// How long a page is unless it is said, and at most.
const (
	usualListed = 50
	maxListed   = 200
)

// serveList answers the intents of who asks, youngest first. Where intents have no
// owners there is no list: knowing the id is what grants reading.
func (s *Server) serveList(w http.ResponseWriter, r *http.Request, _ string) (*stream, error) {
	viewer := viewerOf(r.Context())
	switch {
	case s.Tokens == nil:
		return nil, nothingHere()
	case len(viewer.Owners) == 0: // a filter without owners would pick everybody's
		return nil, Unauthorized()
	}
	filter, err := s.readFilter(r)
	if err != nil {
		return nil, err
	}
	filter.Scope, filter.Owners = s.Scope, viewer.Owners
	page, err := s.Store.List(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	answer := struct {
		OK      bool       `json:"ok"`
		Intents []view     `json:"intents"`
		Next    *intent.ID `json:"next,omitempty"` // what to ask for as `before`
	}{OK: true, Intents: []view{}}
	for i := range page.Intents {
		answer.Intents = append(answer.Intents, s.listed(r, &page.Intents[i]))
	}
	if page.Next != (intent.ID{}) {
		answer.Next = &page.Next
	}
	return nil, writeJSON(w, r, http.StatusOK, answer)
}

// listed is the view of an intent in a list. Its result can be large, and a list
// has many; a damaged one must not hide the others.
func (s *Server) listed(r *http.Request, in *intent.Intent) view {
	v := s.view(r, in)
	if len(v.Result) > 0 && (len(v.Result) > intent.MaxMessage || !json.Valid(v.Result)) {
		v.Result, v.ResultURL = nil, s.resultURL(r, in)
	}
	if v.envelope != nil && len(v.Payload) > intent.MaxMessage {
		v.Payload = nil
	}
	return v
}

func (s *Server) readFilter(r *http.Request) (store.Filter, error) {
	query := r.URL.Query()
	f := store.Filter{Job: query.Get("job"), Status: intent.Status(query.Get("status")), Limit: usualListed}
	if f.Status != "" && !s.AXP.knows(f.Status) {
		return f, BadRequest("status must be one of an intent's, for example IN_PROGRESS")
	}
	if query.Has("limit") {
		n, ok := number(query.Get("limit"))
		if !ok || n < 1 || n > maxListed {
			return f, BadRequest("limit must be a number from 1 to 200")
		}
		f.Limit = int(n)
	}
	if query.Has("before") {
		// A place in time and no more: whose intent it is does not matter, nor
		// whether there is one.
		before, err := intent.ParseID(query.Get("before"))
		if err != nil {
			return f, BadRequest("before must be the next of a page")
		}
		f.Before = before
	}
	return f, nil
}

package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
)

// A row is an intent in a list.
type row struct {
	IntentID       intent.ID     `json:"intent_id"`
	Scope          string        `json:"scope"`
	Job            string        `json:"job"`
	JobID          string        `json:"job_id,omitempty"`
	Status         intent.Status `json:"status"`
	Seq            int64         `json:"seq"`
	CreatedAt      time.Time     `json:"created_at"`
	UpdatedAt      time.Time     `json:"updated_at"`
	UnchangedSince time.Time     `json:"unchanged_since,omitzero"` // what the backend says of a running job
	Progress       *float64      `json:"progress,omitempty"`
	Message        string        `json:"message,omitempty"`
	UnknownState   string        `json:"unknown_state,omitempty"`
	Waiting        string        `json:"waiting,omitempty"`
	Error          *intent.Error `json:"error,omitempty"`
	LastPolledAt   time.Time     `json:"last_polled_at,omitzero"`
	NextPollAt     time.Time     `json:"next_poll_at,omitzero"`
	PollFailures   int           `json:"poll_failures,omitempty"` // in a row
	FailingSince   time.Time     `json:"failing_since,omitzero"`
	DownSince      time.Time     `json:"backend_down_since,omitzero"`
	Parked         bool          `json:"parked,omitempty"` // its job is in no config
}

func (s openStore) row(in *intent.Intent) row {
	v := row{
		IntentID: in.ID, Scope: in.Scope, Job: in.Job, JobID: in.JobID, Status: in.Status, Seq: in.Seq,
		CreatedAt: in.Created.UTC(), UpdatedAt: in.Updated.UTC(), Progress: in.Progress, Message: in.Message,
		UnknownState: in.UnknownState, Waiting: in.Waiting, Error: in.Error,
	}
	if in.Status.Terminal() {
		return v
	}
	v.UnchangedSince = in.Created.UTC()
	if !in.Moved.IsZero() {
		v.UnchangedSince = in.Moved.UTC()
	}
	v.Parked = s.engine.Parked(in)
	p, _ := s.engine.Polling(in.ID)
	v.LastPolledAt, v.NextPollAt = p.Last.UTC(), p.Next.UTC()
	v.PollFailures, v.FailingSince, v.DownSince = p.Failures, p.Failing.UTC(), p.DownSince.UTC()
	return v
}

// serveIntents answers one page of intents, youngest first, and leads people to the
// dashboard.
func serveIntents(w http.ResponseWriter, r *http.Request) error {
	if wantsPage(r) {
		w.Header().Set("Location", path.Base(dashboardRoute)) // a proxy may have its own prefix
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	q, err := readQuery(r, "scope", "job", "status", "running", "older", "unchanged", "waiting", "unknown", "limit", "before")
	if err != nil {
		return err
	}
	filter, err := readAdminFilter(q)
	if err != nil {
		return err
	}
	open, err := openStores(q)
	if err != nil {
		return err
	}
	rows, next, err := listAll(r, open, filter)
	if err != nil {
		return err
	}
	answer := struct {
		OK      bool       `json:"ok"`
		Intents []row      `json:"intents"`
		Next    *intent.ID `json:"next,omitempty"` // what to ask for as `before`; a page may be short and have one
	}{OK: true, Intents: rows}
	if next != (intent.ID{}) {
		answer.Next = &next
	}
	return answerJSON(w, http.StatusOK, answer)
}

// listAll makes one page of those of all stores. A store that has looked at enough, or
// found enough, has not told what comes after: so far, and no further, the page goes.
func listAll(r *http.Request, open []openStore, filter store.Filter) (rows []row, next intent.ID, err error) {
	rows = []row{}
	for _, s := range open {
		page, err := s.store.List(r.Context(), filter)
		if err != nil {
			return nil, next, err
		}
		for i := range page.Intents {
			rows = append(rows, s.row(&page.Intents[i]))
		}
		if bytes.Compare(page.Next[:], next[:]) > 0 {
			next = page.Next
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return bytes.Compare(b.IntentID[:], a.IntentID[:]) })
	if next != (intent.ID{}) {
		rows = slices.DeleteFunc(rows, func(v row) bool { return bytes.Compare(v.IntentID[:], next[:]) < 0 })
	}
	if len(rows) > filter.Limit {
		rows = rows[:filter.Limit]
		next = rows[filter.Limit-1].IntentID
	}
	return rows, next, nil
}

// readAdminFilter reads what a list is to pick.
func readAdminFilter(q url.Values) (store.Filter, error) {
	var f store.Filter
	f.Scope, f.Job, f.Waiting, f.Unknown = q.Get("scope"), q.Get("job"), q.Get("waiting"), q.Get("unknown")
	if said := q.Get("status"); said != "" {
		f.Status = intent.Status(strings.ToUpper(said))
		if !slices.Contains(intent.Statuses(), f.Status) {
			return f, observe.BadRequest(fmt.Sprintf("status: %q is none; there are %s", said, list(intent.Statuses())))
		}
	}
	var err error
	if f.Running, err = readBool(q, "running"); err != nil {
		return f, err
	}
	if f.Made, err = readAge(q, "older"); err != nil {
		return f, err
	}
	if f.Moved, err = readAge(q, "unchanged"); err != nil {
		return f, err
	}
	if f.Made.IsZero() || !f.Moved.IsZero() && f.Moved.Before(f.Made) {
		f.Made = f.Moved // what is younger has not stood still for so long
	}
	if f.Limit, err = readLimit(q); err != nil {
		return f, err
	}
	if said := q.Get("before"); said != "" {
		if f.Before, err = intent.ParseID(said); err != nil {
			return f, observe.BadRequest(fmt.Sprintf("before: %q is not the next of a page", said))
		}
	}
	return f, nil
}

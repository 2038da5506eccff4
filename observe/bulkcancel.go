package observe

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A bulkCancel is which of the requester's intents to cancel together: those that have
// not ended and of which nothing was heard for a while.
type bulkCancel struct {
	OlderThan *float64        `json:"older_than_hours"` // since the last event
	DryRun    *bool           `json:"dry_run"`          // true unless said: nothing is canceled by a slip
	Reason    string          `json:"reason"`
	Limit     int             `json:"limit"`
	Statuses  []intent.Status `json:"status_filter"` // empty for all
}

const (
	maxBulk  = 500 // intents, which is what the CLI asks for by default
	maxHours = 24 * 365 * 100

	// bulkTime is when no more cancels are begun: each may take seconds, and the CLI
	// waits for five minutes. Who asks again gets the rest.
	bulkTime = 4 * time.Minute
)

// serveBulkCancel cancels intents of who asks, one after another, each as a cancel of
// its own: at the backend first. It takes an owner, as a list does.
func (s *Server) serveBulkCancel(w http.ResponseWriter, r *http.Request, _ string) (*stream, error) {
	viewer := viewerOf(r.Context())
	switch {
	case s.Tokens == nil:
		return nil, nothingHere()
	case len(viewer.Owners) == 0:
		return nil, Unauthorized()
	}
	wish, err := s.readBulkCancel(r)
	if err != nil {
		return nil, err
	}
	stuck, err := s.stuck(r.Context(), viewer, wish, time.Now())
	if err != nil {
		return nil, err
	}
	if *wish.DryRun {
		return nil, writeJSON(w, r, http.StatusOK, struct {
			OK          bool        `json:"ok"`
			DryRun      bool        `json:"dry_run"`
			WouldCancel int         `json:"would_cancel"`
			IDs         []intent.ID `json:"intent_ids"`
		}{true, true, len(stuck), stuck})
	}
	canceled := s.cancelAll(r, stuck, wish.Reason)
	return nil, writeJSON(w, r, http.StatusOK, struct {
		OK          bool        `json:"ok"`
		DryRun      bool        `json:"dry_run"`
		Canceled    int         `json:"canceled"`
		NotCanceled int         `json:"not_canceled"` // the backend refused, they had ended, or time was up
		IDs         []intent.ID `json:"intent_ids"`   // of those canceled
	}{true, false, len(canceled), len(stuck) - len(canceled), canceled})
}

func (s *Server) readBulkCancel(r *http.Request) (bulkCancel, error) {
	wish := bulkCancel{Limit: maxBulk}
	if err := readWish(r, &wish, "older_than_hours, dry_run, reason, limit and status_filter"); err != nil {
		return wish, err
	}
	if wish.DryRun == nil {
		wish.DryRun = new(true)
	}
	switch {
	case wish.OlderThan == nil, !(*wish.OlderThan >= 0 && *wish.OlderThan <= maxHours):
		return wish, BadRequest("older_than_hours must be a number of hours, for example 24")
	case wish.Limit < 1 || wish.Limit > maxBulk:
		return wish, BadRequest(fmt.Sprintf("limit must be a number from 1 to %d", maxBulk))
	case slices.ContainsFunc(wish.Statuses, func(st intent.Status) bool { return !s.AXP.knows(st) }):
		return wish, BadRequest("status_filter must be a list of an intent's statuses, for example IN_PROGRESS")
	}
	return wish, nil
}

// stuck lists the intents that a wish is about.
func (s *Server) stuck(ctx context.Context, viewer Viewer, wish bulkCancel, now time.Time) ([]intent.ID, error) {
	heard := now.Add(-time.Duration(*wish.OlderThan * float64(time.Hour)))
	filter := store.Filter{Scope: s.Scope, Owners: viewer.Owners, Limit: maxListed}
	stuck := []intent.ID{}
	for {
		page, err := s.Store.List(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, in := range page.Intents {
			if in.Status.Terminal() || in.Updated.After(heard) || len(wish.Statuses) > 0 && !slices.Contains(wish.Statuses, in.Status) {
				continue
			}
			if stuck = append(stuck, in.ID); len(stuck) == wish.Limit {
				return stuck, nil
			}
		}
		if page.Next == (intent.ID{}) {
			return stuck, nil
		}
		filter.Before = page.Next
	}
}

// cancelAll returns those that are canceled now.
func (s *Server) cancelAll(r *http.Request, ids []intent.ID, reason string) []intent.ID {
	canceled := []intent.ID{}
	until := time.Now().Add(bulkTime)
	for _, id := range ids {
		if r.Context().Err() != nil || !time.Now().Before(until) {
			break
		}
		if in, err := s.cancel(r, id, reason); err == nil && in.Status == intent.Canceled {
			canceled = append(canceled, id)
		}
	}
	return canceled
}

package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
)

// Bounds of a stream of changes. What is more than a frame holds comes with the next one;
// what is more than is remembered is only counted.
const (
	changesPace  = time.Second     // between two frames, at least
	changesBeat  = 5 * time.Second // and at most
	changesRetry = time.Second
	maxChanged   = 200    // intents in a frame
	maxPending   = 10_000 // that wait for one
	maxFollowed  = 100    // ids in the query
	changesWrite = 10 * time.Second
)

// A change is one frame: how things stand, and the intents that have changed since the
// frame before, as they are now.
type change struct {
	At      time.Time    `json:"at"`
	Stores  []storeStats `json:"stores"`
	Intents []row        `json:"intents"`
	Pending int          `json:"pending,omitempty"` // have changed, too, and come with the next frames
	Missed  int          `json:"missed,omitempty"`  // changes that were too many to be remembered: list again
}

// A changed collects the intents of one store that have changed.
type changed struct {
	store  openStore
	filter store.Filter
	only   map[intent.ID]bool // nil for all
	bell   chan struct{}      // capacity 1: full means that somebody will look

	mu      sync.Mutex
	pending map[intent.ID]bool
	order   []intent.ID
	missed  int
}

// hear is called by the store.
func (c *changed) hear(s store.Signal) {
	if s.Kind == store.Appended && (c.only == nil || c.only[s.ID]) {
		c.add(s.ID)
	}
}

func (c *changed) add(id intent.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.pending[id]:
		return
	case len(c.order) == maxPending:
		c.missed++
	default:
		c.pending[id] = true
		c.order = append(c.order, id)
	}
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// take gives the next that have changed, and what is left.
func (c *changed) take() (ids []intent.ID, pending, missed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.order), maxChanged)
	ids, c.order = c.order[:n:n], c.order[n:]
	for _, id := range ids {
		delete(c.pending, id)
	}
	missed, c.missed = c.missed, 0
	return ids, len(c.order), missed
}

// serveChanges streams what changes: a frame at once, then at most one a second, and at
// least one in five. With ids it is about these, and the first frame has them all.
func (a *adminAPI) serveChanges(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, "scope", "job", "id")
	if err != nil {
		return err
	}
	only, err := followedIDs(q["id"])
	if err != nil {
		return err
	}
	open, err := openStores(q)
	if err != nil {
		return err
	}
	bell := make(chan struct{}, 1)
	var all []*changed
	for _, s := range open {
		c := &changed{
			store: s, only: only, bell: bell, pending: make(map[intent.ID]bool),
			filter: store.Filter{Scope: q.Get("scope"), Job: q.Get("job")},
		}
		for id := range only {
			c.add(id)
		}
		defer s.store.Listen(c.hear)()
		all = append(all, c)
	}
	h := w.Header()
	h.Set("Content-Type", sse.ContentType)
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	frame := sse.AppendRetry(nil, changesRetry)
	for {
		data, err := json.Marshal(changeOf(r.Context(), all))
		if err != nil {
			return nil
		}
		frame = sse.AppendFrame(frame, "", "change", data)
		if rc.SetWriteDeadline(time.Now().Add(changesWrite)) != nil {
			return nil
		}
		if _, err := w.Write(frame); err != nil || rc.Flush() != nil {
			return nil // the client has left
		}
		if frame = frame[:0]; !a.untilChange(r.Context(), bell, open) {
			return nil
		}
	}
}

// untilChange waits until the next frame is due. It returns false if there will be none.
func (a *adminAPI) untilChange(ctx context.Context, bell <-chan struct{}, open []openStore) bool {
	over, stop := a.lifetime(ctx, open)
	defer stop()
	if !pause(over, changesPace) {
		return false
	}
	beat := time.NewTimer(changesBeat - changesPace)
	defer beat.Stop()
	select {
	case <-bell:
	case <-beat.C:
	case <-over.Done():
		return false
	}
	return true
}

// lifetime ends with the request, with the config of this endpoint, and with the stores.
func (a *adminAPI) lifetime(ctx context.Context, open []openStore) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	var stops []func() bool
	for _, s := range open {
		stops = append(stops, context.AfterFunc(s.closing, cancel))
	}
	if a.config != nil {
		stops = append(stops, context.AfterFunc(a.config, cancel))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

func followedIDs(said []string) (map[intent.ID]bool, error) {
	if len(said) > maxFollowed {
		return nil, observe.BadRequest(fmt.Sprintf("id: %d are more than the %d that can be followed at once", len(said), maxFollowed))
	}
	var only map[intent.ID]bool
	for _, text := range said {
		id, err := intent.ParseID(text)
		if err != nil {
			return nil, observe.BadRequest(fmt.Sprintf("id: %q is no intent's id", text))
		}
		if only == nil {
			only = make(map[intent.ID]bool)
		}
		only[id] = true
	}
	return only, nil
}

// changeOf makes the next frame.
func changeOf(ctx context.Context, all []*changed) change {
	f := change{At: time.Now().UTC(), Intents: []row{}}
	for _, c := range all {
		s := c.store
		f.Stores = append(f.Stores, s.stats())
		ids, pending, missed := c.take()
		f.Pending, f.Missed = f.Pending+pending, f.Missed+missed
		for _, id := range ids {
			if in, err := s.store.Get(ctx, id); err == nil && c.filter.Picks(&in) {
				f.Intents = append(f.Intents, s.row(&in))
			}
		}
		if pending > 0 {
			select {
			case c.bell <- struct{}{}:
			default:
			}
		}
	}
	slices.SortFunc(f.Intents, func(a, b row) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), slices.Compare(a.IntentID[:], b.IntentID[:]))
	})
	return f
}

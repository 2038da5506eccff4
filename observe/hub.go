package observe

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// These can occur when an observer joins a hub.
var (
	// ErrDraining: the process is going away, or this store of it.
	ErrDraining = errors.New("no longer serving observers")
	// ErrCrowded: there are as many observers as are allowed.
	ErrCrowded = errors.New("too many observers")
	// errOwnerCrowded and errIntentCrowded: there are as many of this owner, or of
	// this intent.
	errOwnerCrowded  = errors.New("too many observers of one owner")
	errIntentCrowded = errors.New("too many observers of one intent")
)

// Limits bound the observers of a hub: all of them, those that count for one owner,
// and those of one intent.
type Limits struct{ All, PerOwner, PerIntent int }

// Watching is told to whoever polls, ahead of time and again and again. Two
// refreshes fit into the window, so that losing one changes nothing; an intent is
// polled at the watched pace for at most the window after its last observer left.
// Observers look at any time, though at least every CheckInterval: one that looks
// just before a refresh may next do so one and a half intervals after the last.
const (
	watchWindow  = 2*store.CheckInterval + 10*time.Second
	watchRefresh = store.CheckInterval / 2
)

// A Hub knows which intents are being observed and rings the doorbells of their
// observers when the store signals something new. It has no goroutine: rings
// happen in the store's, and never block. One hub serves one store for as long
// as the process has it open.
type Hub struct {
	signals  store.Signaler
	logger   *slog.Logger
	unlisten func()
	joined   sync.WaitGroup

	mu      sync.Mutex
	drained context.Context // done from Drain on; another one after Reopen
	drain   context.CancelCauseFunc
	closed  bool
	rooms   map[intent.ID]*room
	parties int
	owners  map[string]int // parties that count for each
}

// A room is all observers of one intent.
type room struct {
	seats   []*seat
	watched time.Time // until when the intent's poller was told that somebody watches
	rings   int       // so far
	look    *look     // the last one, if there is somebody to share it with
	rung    int       // seats that were rung for and whose observers have not looked yet
	tail    tail      // what they were rung for; empty if there are none
}

// A party is one observer: its seats in the rooms of all intents that it follows,
// and one doorbell for all of them.
type party struct {
	seats []*seat
	owner string // whom it counts for; "" for nobody

	drained context.Context // the hub's, when it joined

	// bell has capacity 1. When it is full the ring is dropped: the observer has
	// not answered the last one yet, and when it does it looks for all there is.
	bell chan struct{}
}

// A seat is an observer's place in a room.
type seat struct {
	id   intent.ID
	at   int // its index in the room
	bell chan struct{}
	rung bool // the bell was rung for this seat, and the observer has not looked yet
}

// NewHub returns a hub that listens to the signals of a store until Close. The
// logger, like the hub, belongs to the process; streams log to it.
func NewHub(signals store.Signaler, logger *slog.Logger) *Hub {
	h := &Hub{signals: signals, logger: logger, rooms: make(map[intent.ID]*room), owners: make(map[string]int)}
	h.drained, h.drain = context.WithCancelCause(context.Background())
	h.unlisten = signals.Listen(h.hear)
	return h
}

// Observers is the number of observers now.
func (h *Hub) Observers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.parties
}

// Drain ends every stream and lets no new one begin until Reopen, for the reason given.
// It does not wait. The first reason stays.
func (h *Hub) Drain(cause error) {
	h.mu.Lock() // after this nobody can have joined without seeing it
	defer h.mu.Unlock()
	h.drain(cause)
}

// Reopen lets streams begin again after a Drain that something came of less than the end
// of the process. After Close it does nothing.
func (h *Hub) Reopen() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drained.Err() != nil && !h.closed {
		h.drained, h.drain = context.WithCancelCause(context.Background())
	}
}

// Draining reports whether no new stream may begin.
func (h *Hub) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drained.Err() != nil
}

// ObserversOf is the number of observers of one intent now.
func (h *Hub) ObserversOf(id intent.ID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[id]; r != nil {
		return len(r.seats)
	}
	return 0
}

// Close drains the hub if nobody has, waits until every observer has left, and
// stops listening. It may be called more than once.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.drain(ErrDraining)
	h.mu.Unlock()
	h.joined.Wait()
	h.unlisten()
}

// join seats an observer of some intents, if the limits allow one more.
func (h *Hub) join(ids []intent.ID, owner string, l Limits) (*party, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.admit(ids, owner, l); err != nil {
		return nil, err
	}
	p := &party{seats: make([]*seat, len(ids)), owner: owner, drained: h.drained, bell: make(chan struct{}, 1)}
	for i, id := range ids {
		r := h.rooms[id]
		if r == nil {
			r = new(room)
			h.rooms[id] = r
		}
		p.seats[i] = &seat{id: id, at: len(r.seats), bell: p.bell}
		r.seats = append(r.seats, p.seats[i])
	}
	if owner != "" {
		h.owners[owner]++
	}
	h.parties++
	h.joined.Add(1)
	return p, nil
}

// admit says why one more observer is too many. The caller holds h.mu.
func (h *Hub) admit(ids []intent.ID, owner string, l Limits) error {
	switch {
	case h.drained.Err() != nil:
		return ErrDraining
	case h.parties >= l.All:
		return ErrCrowded
	case owner != "" && h.owners[owner] >= l.PerOwner:
		return errOwnerCrowded
	}
	for _, id := range ids {
		if r := h.rooms[id]; r != nil && len(r.seats) >= l.PerIntent {
			return errIntentCrowded
		}
	}
	return nil
}

// leave gives the seats back.
func (h *Hub) leave(p *party) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range p.seats {
		h.vacate(s)
	}
	if p.owner != "" {
		if h.owners[p.owner]--; h.owners[p.owner] == 0 {
			delete(h.owners, p.owner)
		}
	}
	h.parties--
	h.joined.Done()
}

// vacate gives one seat back. The caller holds h.mu.
func (h *Hub) vacate(s *seat) {
	r := h.rooms[s.id]
	r.looks(s)
	last := len(r.seats) - 1
	r.seats[s.at] = r.seats[last]
	r.seats[s.at].at = s.at
	r.seats = slices.Delete(r.seats, last, last+1)
	if len(r.seats) == 0 {
		delete(h.rooms, s.id)
	}
}

// hear is called by the store for every signal.
func (h *Hub) hear(s store.Signal) {
	switch s.Kind {
	case store.Appended:
		h.tell(s.ID, s.News)
	case store.Missed:
		h.ringAll()
	}
}

// Ring wakes the observers of an intent although there is no event: words say something
// else (see Words).
func (h *Hub) Ring(id intent.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[id]; r != nil {
		r.ring()
	}
}

// tell wakes the observers of an intent: there are events, these if the store says so.
func (h *Hub) tell(id intent.ID, n *store.News) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[id]; r != nil {
		r.tail.add(n)
		r.ring()
	}
}

// ringAll wakes all observers, who then read the store as fast as it lets them: those of
// one intent share what is read.
func (h *Hub) ringAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.rooms {
		r.tail.add(nil)
		r.ring()
	}
}

// ring wakes the observers in a room. The caller holds the hub's mu.
func (r *room) ring() {
	r.rings++
	for _, s := range r.seats {
		if !s.rung {
			s.rung = true
			r.rung++
		}
		select {
		case s.bell <- struct{}{}:
		default:
		}
	}
}

// looks notes that the observer in a seat looks now. The caller holds the hub's mu.
func (r *room) looks(s *seat) {
	if !s.rung {
		return
	}
	s.rung = false
	if r.rung--; r.rung == 0 {
		r.tail = tail{}
	}
}

// What an observer has heard by the time it looks.
type heard struct {
	rung  bool   // somebody rang for it since it looked last
	known bool   // facts is all that there is after the place where it stands
	facts []fact // shared with others
}

// answer has an observer look, who stands at a place in the intent's log.
func (h *Hub) answer(s *seat, at place) heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.rung {
		return heard{}
	}
	r := h.rooms[s.id]
	facts, known := r.tail.after(at)
	r.looks(s)
	return heard{rung: true, known: known, facts: facts}
}

// watch tells whoever polls the intent that it has an observer. Observers of one
// intent share what is told: many of them cost what one costs. If it cannot be told the
// intent is polled less often, and no observer is any worse for it.
func (h *Hub) watch(ctx context.Context, id intent.ID, now time.Time) {
	h.mu.Lock()
	until := now.Add(watchWindow)
	r := h.rooms[id]
	told := r != nil && until.Sub(r.watched) < watchRefresh
	if r != nil && !told {
		r.watched = until
	}
	h.mu.Unlock()
	if !told {
		h.refresh(ctx, id, until)
	}
}

func (h *Hub) refresh(ctx context.Context, id intent.ID, until time.Time) {
	if err := h.signals.Watch(ctx, id, until); err != nil {
		h.logger.DebugContext(ctx, "telling that an intent is watched", "intent", id.String(), "err", err)
	}
}

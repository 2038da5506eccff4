package redisstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Want is the method of [store.Teller].
func (s *Store) Want(ctx context.Context, id intent.ID, until time.Time) error {
	return s.signal(ctx, store.Signal{ID: id, Kind: store.Wanted, Until: until})
}

// Void is the method of [store.Teller].
func (s *Store) Void(ctx context.Context, id intent.ID) error {
	return s.signal(ctx, store.Signal{ID: id, Kind: store.Voided})
}

var _ store.Teller = (*Store)(nil)

// What a telling is as of when is a time of the server, so that who reads it learns
// how old it is. The teller must not make it younger on its way there, or an answer that
// a client got meanwhile would be taken for older than what the telling says. So it is
// counted from the last time that the server said what time it is, which is later by then
// than what it said.

// dials are what the server of each shard has said. A cluster's have one each. They are
// more exact than [clock], which dates what is stored.
type dials struct {
	mu   sync.Mutex
	said []dial // by shard; zero for nothing
}

// A dial is a time of a server, in milliseconds, and when it was known here.
type dial struct {
	server int64
	known  time.Time
}

// dialLife bounds how long is counted from one: two clocks go apart.
const dialLife = time.Minute

func newDials() *dials { return &dials{said: make([]dial, len(tags))} }

// note keeps what a server has said just now.
func (c *dials) note(shard int, server int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said[shard] = dial{server, time.Now()}
}

// at is a time here as one of the server, or the last one before it.
func (c *dials) at(shard int, t time.Time) (server int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.said[shard]
	if r.known.IsZero() || time.Since(r.known) > dialLife {
		return 0, false
	}
	return r.server + t.Sub(r.known).Milliseconds() - 1, true // cut to milliseconds
}

// errNoClock: the server's time jumps, and nothing can be dated by it.
var errNoClock = errors.New("the clock of Redis jumps")

// Tell is the method of [store.Teller].
func (s *Store) Tell(ctx context.Context, l store.Lease, t store.Telling) error {
	shard := shardOf(l.ID)
	for range 2 {
		at, ok := s.dials.at(shard, t.At)
		if !ok {
			if err := s.askTime(ctx, shard); err != nil {
				return err
			}
			if at, ok = s.dials.at(shard, t.At); !ok {
				return errNoClock
			}
		}
		answer, err := s.run(ctx, call{scriptTell, shard, []any{
			l.ID.String(), l.Epoch, s.replica, s.publish, store.TellingKept.Milliseconds(), at, t.Words, t.Mark, flag(t.Body != nil), t.Body,
		}})
		if err != nil {
			return err
		}
		switch answer := answer.(type) {
		case int64: // when it was
			s.dials.note(shard, answer)
			s.board.Post(store.Signal{ID: l.ID, Kind: store.Told})
			return nil
		case string:
			if answer != "clock" {
				return refused(answer)
			}
			if err := s.askTime(ctx, shard); err != nil {
				return err
			}
		default:
			return errDamaged
		}
	}
	return errNoClock
}

// askTime asks the server of a shard what time it is.
func (s *Store) askTime(ctx context.Context, shard int) error {
	answer, err := s.run(ctx, call{scriptClock, shard, nil})
	if err != nil {
		return err
	}
	server, ok := answer.(int64)
	if !ok {
		return errDamaged
	}
	s.dials.note(shard, server)
	return nil
}

// Told is the method of [store.Teller].
func (s *Store) Told(ctx context.Context, id intent.ID, known string) (store.Telling, error) {
	asked := time.Now()
	answer, err := s.run(ctx, call{scriptTold, shardOf(id), []any{id.String(), known}})
	if err != nil {
		return store.Telling{}, err
	}
	parts := slice(answer)
	if len(parts) < 3 {
		return store.Telling{}, store.ErrNotFound
	}
	age, ok := parts[0].(int64)
	if !ok {
		return store.Telling{}, errDamaged
	}
	words, _ := parts[1].(string)
	mark, _ := parts[2].(string)
	// It was told before we asked, and both times are cut to milliseconds.
	t := store.Telling{At: asked.Add(-time.Duration(max(age, 0)+1) * time.Millisecond), Words: []byte(words), Mark: mark}
	if len(parts) > 3 {
		body, _ := parts[3].(string)
		t.Body = []byte(body)
	}
	return t, nil
}

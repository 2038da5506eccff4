package redisstore

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// A clock is that of the server, by which all who share it date what they store: the
// clocks of their machines can be minutes apart, and what one of them stores another
// ends, polls and shows. It goes on by itself between two looks at the server, also if
// the machine's own clock is set meanwhile.
type clock struct {
	mu     sync.Mutex
	server time.Time // the server's time
	local  time.Time // when it was that, by the monotonic clock of this process
}

// closeEnough is the difference from the server's time that is let be. Clocks that are
// kept together differ by less, and time is not to jump at every look.
const closeEnough = time.Second

// surelyAsked bounds how long a look may take that says something: when the server looked
// at its clock is known to half of that.
const surelyAsked = 500 * time.Millisecond

func newClock() *clock {
	now := time.Now()
	return &clock{server: now.Round(0), local: now}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.Add(time.Since(c.local))
}

// look notes what the server answered to a question after its time. It returns by how much
// the clock was set, 0 if it went well.
func (c *clock) look(asked, answered, server time.Time) time.Duration {
	took := answered.Sub(asked)
	if took > surelyAsked {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ahead := server.Sub(c.server.Add(asked.Add(took / 2).Sub(c.local)))
	if ahead.Abs() < closeEnough {
		return 0
	}
	c.server, c.local = server.Round(0), asked.Add(took/2)
	return ahead
}

// Now is the method of [store.Store].
func (s *Store) Now() time.Time { return s.clock.now() }

// lookAtClock asks the server for its time; of a cluster always the same node, while it
// answers.
func (s *Store) lookAtClock(ctx context.Context) error {
	here := s.here()
	if len(here) == 0 {
		return store.ErrUnavailable
	}
	ctx, done, err := s.begin(ctx, here[0])
	if err != nil {
		return err
	}
	defer done()
	node, err := s.node(ctx, here[0])
	if err != nil {
		return s.failed(ctx, here[0], err)
	}
	asked := time.Now()
	server, err := node.Time(ctx).Result()
	if err != nil {
		return s.failed(ctx, here[0], err)
	}
	if by := s.clock.look(asked, time.Now(), server); by != 0 {
		s.log.Warn("the clock of this machine, or that of Redis, is wrong; what is stored is dated by that of Redis", "ahead", math.Round(by.Seconds()))
	}
	return nil
}

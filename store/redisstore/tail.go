package redisstore

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Tails are how far the logs reach that this replica writes, to notice that a server
// came back without the end of them. A failover can lose what its replica had not
// received; other events then come in the same places, and who has seen the first ones
// has to be told. The generation of the log is raised for that: by the holder, who knows
// what was lost, or by who takes over after a failover, who does not.
type tails struct {
	mu      sync.Mutex
	heights map[intent.ID]height
	servers map[string]bool // the run ids of those that were met
	settled bool            // all of them were met: another one is news
	doubt   time.Time       // until then, leases that ended may be of before a failover
}

type height struct{ epoch, seq int64 }

func newTails() *tails {
	return &tails{heights: make(map[intent.ID]height), servers: make(map[string]bool)}
}

// grew notes what was stored.
func (t *tails) grew(l store.Lease, in *intent.Intent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if in.Status.Terminal() {
		delete(t.heights, l.ID)
		return
	}
	if h := t.heights[l.ID]; h.epoch < l.Epoch || h.epoch == l.Epoch && h.seq < in.Seq {
		t.heights[l.ID] = height{l.Epoch, in.Seq}
	}
}

// forget is for what is not held any more.
func (t *tails) forget(id intent.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.heights, id)
}

// short returns how far the log is known to have been, if it is shorter now.
func (t *tails) short(in *intent.Intent) (height, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.heights[in.ID]
	return h, ok && in.Seq < h.seq
}

// doubtTerms is for how many terms after a server was met for the first time a lease that
// ended counts as one of before.
const doubtTerms = 3

// meet notes which server a new connection is to.
func (t *tails) meet(server string, term time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settled && !t.servers[server] {
		t.doubt = time.Now().Add(doubtTerms * term)
	}
	t.servers[server] = true
}

func (t *tails) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settled = true
}

func (t *tails) doubtful() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.doubt)
}

// greet looks which server a connection is to, before anything is asked by it. One that
// does not tell cannot be told from another.
func (s *Store) greet(ctx context.Context, conn *redis.Conn) error {
	text, err := conn.Info(ctx, "server").Result()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(text) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "run_id:"); ok {
			s.tails.meet(id, s.term)
		}
	}
	return nil
}

// mend looks whether the log of an intent lost its tail, and raises its generation then.
// What was read may only be older than what was stored meanwhile: the server decides.
func (s *Store) mend(ctx context.Context, in intent.Intent) (intent.Intent, error) {
	known, short := s.tails.short(&in)
	if !short {
		return in, nil
	}
	answer, err := s.run(ctx, call{scriptRaise, shardOf(in.ID), []any{in.ID.String(), known.epoch, s.replica, known.seq}})
	if err != nil {
		return in, err
	}
	parts := slice(answer)
	if len(parts) != 2 {
		return in, errDamaged
	}
	generation, _ := parts[1].(int64)
	if generation > 0 {
		s.tails.forget(in.ID)
		s.log.Warn("Redis lost events that were stored; observers are told", "intent", in.ID, "seq", in.Seq, "lost", known.seq-in.Seq)
		in.Generation = generation
	}
	return in, nil
}

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// What is published is "replica kind id number": who rings, about what, and the number
// of the last event, or for how many milliseconds somebody watches, or wants to be told:
// the clocks of two machines need not agree. A kind that is not known is another release's,
// and passed over. It is short, and tells a replica that has no observer nothing of
// what is in an intent.
const kindEcho = "echo"

var kindOf = map[store.SignalKind]string{
	store.Appended: "appended", store.Watched: "watched", store.Wanted: "wanted", store.Told: "told", store.Voided: "voided",
}

// Watch is the method of [store.Signaler].
func (s *Store) Watch(ctx context.Context, id intent.ID, until time.Time) error {
	return s.signal(ctx, store.Signal{ID: id, Kind: store.Watched, Until: until})
}

// signal tells all replicas, this one too.
func (s *Store) signal(ctx context.Context, signal store.Signal) error {
	shard := shardOf(signal.ID)
	ctx, done, err := s.begin(ctx, shard)
	if err != nil {
		return err
	}
	defer done()
	s.board.Post(signal)
	number := int64(0)
	if !signal.Until.IsZero() {
		number = time.Until(signal.Until).Milliseconds()
	}
	message := s.replica + " " + kindOf[signal.Kind] + " " + signal.ID.String() + " " + strconv.FormatInt(number, 10)
	return s.failed(ctx, shard, s.ring(ctx, s.shards[shard]+"ev", message))
}

// ring publishes in the way that this server is listened to.
func (s *Store) ring(ctx context.Context, channel, message string) error {
	if s.cluster {
		return s.client.SPublish(ctx, channel, message).Err()
	}
	return s.client.Publish(ctx, channel, message).Err()
}

// Listen is the method of [store.Signaler].
func (s *Store) Listen(f func(store.Signal)) (stop func()) { return s.board.Listen(f) }

// echoEvery is how often a subscription is heard to work: by then the echo of the time
// before has to be there. One that a failover has left on a server that nobody writes to
// looks healthy otherwise.
const echoEvery = 5 * time.Second

// startListening subscribes, and waits for that as long as the server may take.
// Connections to a cluster are each to one node, so there is one for each shard.
func (s *Store) startListening(ctx context.Context) {
	var groups [][]string
	if s.cluster {
		for _, shard := range s.shards {
			groups = append(groups, []string{shard + "ev"})
		}
	} else {
		var all []string
		for _, shard := range s.shards {
			all = append(all, shard+"ev")
		}
		groups = [][]string{all}
	}
	var ready sync.WaitGroup
	for _, channels := range groups {
		ready.Add(1)
		s.loops.Go(func() { s.follow(channels, sync.OnceFunc(ready.Done)) })
	}
	heard := make(chan struct{})
	go func() { ready.Wait(); close(heard) }() // follow lets it go, with Close at the latest
	select {
	case <-heard:
	case <-ctx.Done():
	case <-time.After(commandTimeout):
	}
}

// follow passes on what other replicas ring, and subscribes anew when that breaks. Close
// ends it.
func (s *Store) follow(channels []string, ready func()) {
	defer ready() // so that nobody waits for a server that is away
	for failures := 0; s.ctx.Err() == nil; failures++ {
		begun := time.Now()
		err := s.followOnce(channels, ready)
		ready = func() { s.board.Post(store.Signal{Kind: store.Missed}) }
		if s.ctx.Err() != nil {
			return
		}
		if time.Since(begun) > time.Minute {
			failures = 0
		}
		s.log.Warn("listening to the other replicas broke off and begins anew; until then observers learn late of events that others store", "err", err)
		select {
		case <-s.ctx.Done():
		case <-time.After(resubscribeAfter(failures)):
		}
	}
}

// resubscribeAfter spreads the replicas that have all lost the same server.
func resubscribeAfter(failures int) time.Duration {
	most := min(100*time.Millisecond<<min(failures, 6), 5*time.Second)
	return most/2 + rand.N(most/2)
}

var errDeaf = errors.New("what was published was not heard")

func (s *Store) followOnce(channels []string, ready func()) error {
	var sub *redis.PubSub
	if s.cluster {
		sub = s.client.SSubscribe(s.ctx, channels...)
	} else {
		sub = s.client.Subscribe(s.ctx, channels...)
	}
	defer sub.Close()
	defer context.AfterFunc(s.ctx, func() { _ = sub.Close() })()
	subscribed, echoed := 0, true
	next := time.Now().Add(commandTimeout)
	for {
		got, err := sub.ReceiveTimeout(s.ctx, max(time.Until(next), time.Millisecond))
		switch m := got.(type) {
		case *redis.Subscription:
			if m.Kind != "subscribe" && m.Kind != "ssubscribe" {
				return fmt.Errorf("unsubscribed from %s", m.Channel) // the slot has moved
			}
			if subscribed++; subscribed == len(channels) {
				ready()
				next = time.Now().Add(rand.N(echoEvery))
			}
		case *redis.Message:
			echoed = s.hear(m.Payload) || echoed
		}
		if err != nil && !isTimeout(err) {
			return err
		}
		if time.Now().Before(next) {
			continue
		}
		if subscribed < len(channels) || !echoed {
			return errDeaf
		}
		echoed = false
		if err := s.ring(s.ctx, channels[0], s.replica+" "+kindEcho); err != nil {
			return err
		}
		next = time.Now().Add(echoEvery)
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// hear passes on what another replica rings. It reports whether it was our own echo.
func (s *Store) hear(message string) (echo bool) {
	words := strings.Fields(message)
	if len(words) == 2 && words[1] == kindEcho {
		return words[0] == s.replica
	}
	if len(words) != 4 || words[0] == s.replica {
		return false
	}
	id, err := intent.ParseID(words[2])
	if err != nil {
		return false
	}
	for kind, word := range kindOf {
		if word != words[1] {
			continue
		}
		signal := store.Signal{ID: id, Kind: kind}
		if kind == store.Watched || kind == store.Wanted {
			ms, err := strconv.ParseInt(words[3], 10, 64)
			if err != nil {
				return false
			}
			signal.Until = time.Now().Add(time.Duration(ms) * time.Millisecond)
		}
		s.board.Post(signal)
	}
	return false
}

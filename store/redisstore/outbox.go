package redisstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A letter is a message as it is kept. Its name orders like the message's id; its body
// never changes, its state begins with when it is due.
type letter struct {
	name, due   string
	body, state []byte
}

// A verdict is what became of a message so far.
type verdict struct {
	Attempts int    `json:"attempts,omitempty"`
	Failure  string `json:"failure,omitempty"`
	Dead     bool   `json:"dead,omitempty"`
}

// A letter's name is the id of the intent, the seq in so many digits, and the recipient.
const (
	idSize  = 36
	seqSize = 10
)

func letterName(id store.MessageID) string {
	return fmt.Sprintf("%s%0*d%s", id.Intent, seqSize, id.Seq, id.To)
}

func encodeLetter(m *store.Message) (letter, error) {
	body, err := json.Marshal(store.Message{Scope: m.Scope, Job: m.Job, Event: m.Event})
	if err != nil {
		return letter{}, fmt.Errorf("encoding a message about %s: %w", m.Intent, err)
	}
	state, err := json.Marshal(verdict{m.Attempts, m.Failure, m.Dead})
	if err != nil {
		return letter{}, fmt.Errorf("encoding a message about %s: %w", m.Intent, err)
	}
	due := timeText(m.Due)
	return letter{letterName(m.MessageID), due, body, append([]byte(due), state...)}, nil
}

func decodeLetter(name, body, state string) (m store.Message, err error) {
	if len(name) < idSize+seqSize || len(state) < timeSize {
		return m, errDamaged
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return m, fmt.Errorf("decoding a message: %w", err)
	}
	if m.Intent, err = intent.ParseID(name[:idSize]); err != nil {
		return m, errDamaged
	}
	if m.Seq, err = strconv.ParseInt(name[idSize:idSize+seqSize], 10, 64); err != nil {
		return m, errDamaged
	}
	m.To = name[idSize+seqSize:]
	if m.Due, err = parseTime(state[:timeSize]); err != nil {
		return m, err
	}
	var v verdict
	if err := json.Unmarshal([]byte(state[timeSize:]), &v); err != nil {
		return m, fmt.Errorf("decoding what became of a message: %w", err)
	}
	m.Attempts, m.Failure, m.Dead = v.Attempts, v.Failure, v.Dead
	return m, nil
}

// Collect is the method of [store.Outbox]. It looks at what is due in all shards that are
// here and then takes the first; what another replica has taken meanwhile it looks for again.
func (s *Store) Collect(ctx context.Context, now, until time.Time, n int) ([]store.Message, error) {
	for {
		due, err := s.firstOf(ctx, s.here(), "md", "-", "["+timeText(now)+"\xff", n)
		if err != nil || len(due) == 0 {
			return nil, err
		}
		calls := make([]call, len(s.shards))
		for _, d := range due {
			c := &calls[d.shard]
			if c.args == nil {
				*c = call{scriptCollect, d.shard, []any{timeText(now), timeText(until), 0}}
			}
			c.args[2] = c.args[2].(int) + 1
			c.args = append(c.args, d.member[timeSize:])
		}
		calls = slices.DeleteFunc(calls, func(c call) bool { return c.args == nil })
		collected, err := s.collect(ctx, calls)
		if err != nil || len(collected) > 0 {
			slices.SortFunc(collected, func(a, b store.Message) int {
				return cmp.Compare(dueFirst(due, a), dueFirst(due, b))
			})
			return collected, err
		}
	}
}

// dueFirst is the place of a message among those that are due.
func dueFirst(due []member, m store.Message) int {
	name := letterName(m.MessageID)
	return slices.IndexFunc(due, func(d member) bool { return d.member[timeSize:] == name })
}

func (s *Store) collect(ctx context.Context, calls []call) ([]store.Message, error) {
	answers, err := s.runAll(ctx, calls)
	if err != nil {
		return nil, err
	}
	var collected []store.Message
	for _, answer := range answers {
		for _, one := range slice(answer) {
			m, err := messageOf(slice(one))
			if err != nil {
				return collected, err
			}
			collected = append(collected, m)
		}
	}
	return collected, nil
}

// messageOf reads name, body and state.
func messageOf(parts []any) (store.Message, error) {
	if len(parts) != 3 {
		return store.Message{}, errDamaged
	}
	name, _ := parts[0].(string)
	body, _ := parts[1].(string)
	state, _ := parts[2].(string)
	return decodeLetter(name, body, state)
}

// A member is one of a sorted set of a shard.
type member struct {
	shard  int
	member string
}

// firstOf returns the first n members of a sorted set that each of some shards has, between
// two bounds, in their common order.
func (s *Store) firstOf(ctx context.Context, shards []int, set, from, to string, n int) ([]member, error) {
	switch {
	case n <= 0:
		return nil, nil
	case len(shards) == 0:
		return nil, store.ErrUnavailable
	}
	ctx, done, err := s.begin(ctx, shards...)
	if err != nil {
		return nil, err
	}
	defer done()
	pipe := s.client.Pipeline()
	commands := make([]*redis.StringSliceCmd, len(shards))
	for i, shard := range shards {
		commands[i] = pipe.ZRangeArgs(ctx, redis.ZRangeArgs{Key: s.shards[shard] + set, Start: from, Stop: to, ByLex: true, Count: int64(n)})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, s.failed(ctx, oneOf(shards), err)
	}
	var all []member
	for i, c := range commands {
		for _, m := range c.Val() {
			all = append(all, member{shards[i], m})
		}
	}
	slices.SortFunc(all, func(a, b member) int { return strings.Compare(a.member, b.member) })
	return all[:min(n, len(all))], nil
}

// Keep is the method of [store.Outbox].
func (s *Store) Keep(ctx context.Context, m store.Message) error {
	l, err := encodeLetter(&m)
	if err != nil {
		return err
	}
	answer, err := s.run(ctx, call{scriptKeep, shardOf(m.Intent), []any{l.name, l.state, l.due, flag(m.Dead)}})
	if err != nil {
		return err
	}
	return refused(answer)
}

// Discard is the method of [store.Outbox].
func (s *Store) Discard(ctx context.Context, id store.MessageID) error {
	_, err := s.run(ctx, call{scriptDiscard, shardOf(id.Intent), []any{letterName(id), timeSize}})
	return err
}

// Messages is the method of [store.Outbox].
func (s *Store) Messages(ctx context.Context, after store.MessageID, n int) ([]store.Message, error) {
	from := "-"
	if after != (store.MessageID{}) {
		from = "(" + letterName(after)
	}
	names, err := s.firstOf(ctx, s.every(), "mo", from, "+", n)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	ctx, done, err := s.begin(ctx, s.every()...)
	if err != nil {
		return nil, err
	}
	defer done()
	pipe := s.client.Pipeline()
	bodies, states := make([]*redis.StringCmd, len(names)), make([]*redis.StringCmd, len(names))
	for i, name := range names {
		bodies[i] = pipe.HGet(ctx, s.shards[name.shard]+"m", name.member)
		states[i] = pipe.HGet(ctx, s.shards[name.shard]+"ms", name.member)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, s.failed(ctx, several, err)
	}
	var messages []store.Message
	for i, name := range names {
		if bodies[i].Err() != nil || states[i].Err() != nil {
			continue // discarded meanwhile
		}
		m, err := decodeLetter(name.member, bodies[i].Val(), states[i].Val())
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

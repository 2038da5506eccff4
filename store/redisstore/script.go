package redisstore

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/store"
)

// A script is one transition, which happens whole or not at all. It is named by its
// content on the server, so that two releases can use one server side by side.
type script struct{ text, sha string }

//go:embed lua
var files embed.FS

var (
	scriptCreate  = load("create")
	scriptAppend  = load("append")
	scriptClaim   = load("claim")
	scriptTake    = load("take")
	scriptRenew   = load("renew")
	scriptRelease = load("release")
	scriptDrop    = load("drop")
	scriptEvents  = load("events")
	scriptKey     = load("key")
	scriptExpired = load("expired")
	scriptPurge   = load("purge")
	scriptAdopt   = load("adopt")
	scriptUnindex = load("unindex")
	scriptCollect = load("collect")
	scriptKeep    = load("keep")
	scriptDiscard = load("discard")
	scriptRaise   = load("raise")
	scriptCount   = load("count")
	scriptTell    = load("tell")
	scriptTold    = load("told")
	scriptClock   = load("clock")
)

func load(name string) script {
	var text []byte
	for _, part := range []string{"shared", name} {
		b, err := files.ReadFile("lua/" + part + ".lua")
		if err != nil {
			panic(err) // the files are part of the binary
		}
		text = append(text, b...)
	}
	sum := sha1.Sum(text)
	return script{text: string(text), sha: hex.EncodeToString(sum[:])}
}

// A call is a script that is to run on a shard.
type call struct {
	script script
	shard  int
	args   []any
}

// run runs a script of which it does no harm if it happens although it is said not to.
func (s *Store) run(ctx context.Context, c call) (any, error) {
	answers, err := s.runAll(ctx, []call{c})
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// runAll runs such scripts in one exchange for each server.
func (s *Store) runAll(ctx context.Context, calls []call) ([]any, error) {
	shards := make([]int, len(calls))
	for i, c := range calls {
		shards[i] = c.shard
	}
	ctx, done, err := s.begin(ctx, shards...)
	if err != nil {
		return nil, err
	}
	defer done()
	answers, err := s.evaluate(ctx, calls)
	return answers, s.failed(ctx, oneOf(shards), err)
}

// oneOf is the shard that all of these are, or several.
func oneOf(shards []int) int {
	if len(shards) == 0 || slices.ContainsFunc(shards, func(shard int) bool { return shard != shards[0] }) {
		return several
	}
	return shards[0]
}

func (s *Store) evaluate(ctx context.Context, calls []call) ([]any, error) {
	var err error
	answers := make([]any, len(calls))
	pipe := s.client.Pipeline()
	commands := make([]*redis.Cmd, len(calls))
	for i, c := range calls {
		commands[i] = pipe.EvalSha(ctx, c.script.sha, []string{s.shards[c.shard]}, c.args...)
	}
	_, _ = pipe.Exec(ctx) // the first error of the commands, each of which is looked at
	for i, c := range calls {
		answers[i], err = commands[i].Result()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			answers[i], err = s.client.Eval(ctx, c.script.text, []string{s.shards[c.shard]}, c.args...).Result()
		}
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
	}
	return answers, nil
}

// errNotCopied: the change is stored, but not in as many places as was asked for. It is
// no store.ErrUnavailable, which would say that nothing was stored.
var errNotCopied = errors.New("too few replicas of Redis have confirmed the change")

// commit runs a script whose change somebody relies on, and has it copied to the
// server's replicas first where that is asked for: WAIT is about one connection, so it
// goes into the same pipeline.
func (s *Store) commit(ctx context.Context, c call) (any, error) {
	ctx, done, err := s.begin(ctx, c.shard)
	if err != nil {
		return nil, err
	}
	defer done()
	if s.copies == 0 {
		answers, err := s.evaluate(ctx, []call{c})
		if err != nil {
			return nil, s.unsure(ctx, c.shard, err)
		}
		return answers[0], nil
	}
	for try := 0; ; try++ {
		answer, copies, err := s.commitOnce(ctx, c)
		switch {
		case err != nil && try < redirects && redis.HasErrorPrefix(err, "MOVED"):
			s.client.(*redis.ClusterClient).ReloadState(ctx)
			continue
		case err != nil && !errors.Is(err, redis.Nil):
			return nil, s.unsure(ctx, c.shard, err)
		case copies < int64(s.copies):
			return answer, fmt.Errorf("%w: %d of %d", errNotCopied, copies, s.copies)
		}
		return answer, nil
	}
}

// redirects bounds how often a cluster's map is read again for one command.
const redirects = 3

func (s *Store) commitOnce(ctx context.Context, c call) (answer any, copies int64, err error) {
	node, err := s.node(ctx, c.shard)
	if err != nil {
		return nil, 0, err
	}
	keys := []string{s.shards[c.shard]}
	pipe := node.Pipeline()
	command := pipe.EvalSha(ctx, c.script.sha, keys, c.args...)
	waited := pipe.Do(ctx, "WAIT", s.copies, copyTimeout.Milliseconds())
	_, _ = pipe.Exec(ctx) // the first error of the commands, each of which is looked at
	if redis.HasErrorPrefix(command.Err(), "NOSCRIPT") {
		pipe = node.Pipeline()
		command = pipe.Eval(ctx, c.script.text, keys, c.args...)
		waited = pipe.Do(ctx, "WAIT", s.copies, copyTimeout.Milliseconds())
		_, _ = pipe.Exec(ctx)
	}
	if answer, err = command.Result(); err != nil {
		return nil, 0, err
	}
	copies, err = waited.Int64()
	return answer, copies, err
}

// node is the server that has a shard.
func (s *Store) node(ctx context.Context, shard int) (*redis.Client, error) {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, s.shards[shard])
	}
	return s.client.(*redis.Client), nil
}

// refusals are what scripts answer in place of changing something.
var refusals = map[string]error{
	"gone":     store.ErrNotFound,
	"fenced":   store.ErrFenced,
	"ended":    store.ErrEnded,
	"conflict": store.ErrConflict,
	"exists":   store.ErrExists,
	"missing":  store.ErrMissing,
}

// refused is the error that a script's answer stands for, if it does.
func refused(answer any) error {
	word, _ := answer.(string)
	return refusals[word]
}

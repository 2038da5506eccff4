//go:build redis

package redisstore_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
)

// A trial is of one script, to which something happens when it is run after strike.
type trial struct {
	*testing.T
	*redisstore.Store
	server *redistest.Server
	strike func()
}

// trials are what each script is for, and how that stands if its first answer was lost. A
// script without one fails the tests.
var trials = map[string]func(trial){
	"create": func(t trial) {
		in, events := begun("report")
		t.strike()
		held, err := t.Create(t.Context(), in, events)
		require.NoError(t, err)
		t.changes(held)
	},
	"append": func(t trial) {
		held := create(t.T, t, "report")
		c := reported(held, 1)
		t.strike()
		require.NoError(t, t.Append(t.Context(), c))
		held.Intent = c.Intent
		t.changes(held)
	},
	"claim": func(t trial) {
		held := t.released()
		t.strike()
		// What was claimed without our hearing of it is ours for a term, and then anybody's.
		var claimed []store.Held
		eventually(t.T, func() bool { claimed = claim(t.T, t); return len(claimed) == 1 })
		require.Equal(t, held.ID, claimed[0].ID)
		t.changes(claimed[0])
	},
	"take": func(t trial) {
		held := create(t.T, t, "report")
		t.strike()
		taken, err := t.Take(t.Context(), held.ID)
		require.NoError(t, err)
		require.ErrorIs(t, t.Append(t.Context(), reported(held, 1)), store.ErrFenced)
		t.changes(taken)
	},
	"renew": func(t trial) {
		held := create(t.T, t, "report")
		t.strike()
		lost, err := t.Renew(t.Context(), []store.Lease{held.Lease})
		require.NoError(t, err)
		require.Empty(t, lost)
		t.changes(held)
	},
	"release": func(t trial) {
		held := create(t.T, t, "report")
		t.strike()
		if err := t.Release(t.Context(), held.Lease); err != nil {
			require.ErrorIs(t, err, store.ErrFenced, "it is held by nobody when it is released again")
		}
		t.changes(claim(t.T, t)[0])
	},
	"drop": func(t trial) {
		in := t.keyed()
		held, err := t.Reserve(t.Context(), in)
		require.NoError(t, err)
		t.strike()
		if err := t.Drop(t.Context(), held.ID, held.Epoch); err != nil {
			require.ErrorIs(t, err, store.ErrNotFound, "it is gone when it is dropped again")
		}
		again := t.keyed()
		again.Key = in.Key
		again.ID = intent.NewID(again.Created, store.ShardAt(in.Key, again.Created))
		_, err = t.Reserve(t.Context(), again)
		require.NoError(t, err, "the key is free")
	},
	"events": func(t trial) {
		held := create(t.T, t, "report")
		t.strike()
		in, events, err := t.Events(t.Context(), held.ID, 1)
		require.NoError(t, err)
		require.Equal(t, held.Intent.Seq, in.Seq)
		require.Len(t, events, int(in.Seq)-1)
	},
	"key": func(t trial) {
		in := t.keyed()
		_, err := t.Reserve(t.Context(), in)
		require.NoError(t, err)
		t.strike()
		found, _, err := t.ByKey(t.Context(), in.Key)
		require.NoError(t, err)
		require.Equal(t, in.ID, found.ID)
	},
	"adopt": func(t trial) {
		in, events := begun("report")
		t.strike()
		held, err := t.Adopt(t.Context(), in, events, intent.ID{})
		require.NoError(t, err)
		t.changes(held)
		other, events := begun("report")
		other.StatusURL = in.StatusURL
		_, err = t.Adopt(t.Context(), other, events, intent.ID{})
		require.ErrorIs(t, err, store.ErrExists)
	},
	"expired": trial.purges,
	"unindex": trial.purges,
	"purge":   trial.purges,
	"collect": func(t trial) {
		t.tells()
		t.strike()
		// What was collected without our hearing of it is due again later.
		at := time.Now().Add(time.Minute)
		messages, err := t.Collect(t.Context(), at, at.Add(time.Minute), 10)
		require.NoError(t, err)
		if len(messages) == 0 {
			messages, err = t.Collect(t.Context(), at.Add(time.Minute), at.Add(time.Hour), 10)
			require.NoError(t, err)
		}
		require.Len(t, messages, 1)
	},
	"keep": func(t trial) {
		m := t.tells()
		m.Attempts, m.Due = 3, time.Now().Add(time.Hour)
		t.strike()
		require.NoError(t, t.Keep(t.Context(), m))
		kept, err := t.Messages(t.Context(), store.MessageID{}, 10)
		require.NoError(t, err)
		require.Len(t, kept, 1)
		require.Equal(t, 3, kept[0].Attempts)
	},
	"discard": func(t trial) {
		m := t.tells()
		t.strike()
		require.NoError(t, t.Discard(t.Context(), m.MessageID))
		kept, err := t.Messages(t.Context(), store.MessageID{}, 10)
		require.NoError(t, err)
		require.Empty(t, kept)
	},
	"raise": func(t trial) {
		held := create(t.T, t, "report")
		latest := t.eval("return redis.call('HGET', redis.call('KEYS', '*i:' .. ARGV[1])[1], 'l')", held.ID.String())
		require.NoError(t, t.Append(t.Context(), reported(held, 1)))
		// As a failover does it that loses the last event.
		t.eval("return redis.call('RPOP', redis.call('KEYS', '*e:' .. ARGV[1])[1])", held.ID.String())
		t.eval("return redis.call('HSET', redis.call('KEYS', '*i:' .. ARGV[1])[1], 'l', ARGV[2])", held.ID.String(), latest)
		t.strike()
		in, err := t.Get(t.Context(), held.ID)
		require.NoError(t, err)
		require.Positive(t, in.Generation, "observers are told")
		held.Intent = in
		t.changes(held)
	},
	"clock": trial.says, // asked for the time by the first telling
	"tell":  trial.says,
	"told": func(t trial) {
		held := create(t.T, t, "report")
		require.NoError(t, t.Tell(t.Context(), held.Lease, store.Telling{At: time.Now(), Words: []byte("words")}))
		t.strike()
		told, err := t.Told(t.Context(), held.ID, "")
		require.NoError(t, err)
		require.Equal(t, "words", string(told.Words))
	},
	"count": func(t trial) {
		create(t.T, t, "report")
		t.strike()
		got, err := t.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, store.Stats{Running: 1}, got)
	},
}

// changes reports something of what is held, and looks whether that follows what was
// there without a gap.
func (t trial) changes(held store.Held) {
	t.Helper()
	c := reported(held, 7)
	require.NoError(t, t.Append(t.Context(), c))
	in, events, err := t.Events(t.Context(), held.ID, 0)
	require.NoError(t, err)
	require.Equal(t, c.Intent.Seq, in.Seq)
	require.Len(t, events, int(in.Seq))
	for i, e := range events {
		require.EqualValues(t, i+1, e.Seq)
	}
}

// eval runs a script of the test's own.
func (t trial) eval(text string, args ...string) string {
	t.Helper()
	answer, err := t.server.Do(append([]string{"EVAL", text, "0"}, args...)...)
	require.NoError(t, err)
	require.False(t, strings.HasPrefix(answer, "-"), answer)
	return answer
}

func (t trial) released() store.Held {
	t.Helper()
	held := create(t.T, t, "report")
	require.NoError(t, t.Release(t.Context(), held.Lease))
	return held
}

// keyed is a reservation under a key, stored nowhere yet.
func (t trial) keyed() intent.Intent {
	now := time.Now().UTC()
	key := rand.Text()
	return intent.Intent{ID: intent.NewID(now, store.ShardAt(key, now)), Origin: intent.Origin{
		Scope: "default", Job: "report", Key: key, Created: now, Deadline: now.Add(time.Hour),
	}}
}

// purges removes an intent of a job that the index knows.
func (t trial) purges() {
	t.Helper()
	held := create(t.T, t, "report")
	last, events := held.Intent.End(intent.Canceled, intent.Details{}, time.Now())
	last.Expires = time.Now()
	require.NoError(t, t.Append(t.Context(), store.Change{Intent: last, Epoch: held.Epoch, After: held.Intent.Seq, Events: events}))
	t.strike()
	_, err := t.Purge(t.Context(), time.Now().Add(time.Minute), 10)
	require.NoError(t, err)
	_, err = t.Get(t.Context(), held.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = t.ByJob(t.Context(), store.KeyOf(&last))
	require.ErrorIs(t, err, store.ErrNotFound)
	got, err := t.Stats(t.Context())
	require.NoError(t, err)
	require.Zero(t, got)
}

// says tells other replicas something, and looks whether they could read it.
func (t trial) says() {
	t.Helper()
	held := create(t.T, t, "report")
	t.strike()
	require.NoError(t, t.Tell(t.Context(), held.Lease, store.Telling{At: time.Now(), Words: []byte("words"), Mark: "m", Body: []byte("body")}))
	told, err := t.Told(t.Context(), held.ID, "")
	require.NoError(t, err)
	require.Equal(t, "words body", string(told.Words)+" "+string(told.Body))
}

// tells stores an event that somebody is to be told of, and returns the message.
func (t trial) tells() store.Message {
	t.Helper()
	c := reported(create(t.T, t, "report"), 1)
	c.Events[0].Tell = []string{"somebody"}
	require.NoError(t, t.Append(t.Context(), c))
	messages, err := t.Messages(t.Context(), store.MessageID{}, 10)
	require.NoError(t, err)
	require.Len(t, messages, 1)
	return messages[0]
}

// scripts are the texts of all that there are, by their names, as the server gets them.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	shared, err := os.ReadFile("lua/shared.lua")
	require.NoError(t, err)
	files, err := filepath.Glob("lua/*.lua")
	require.NoError(t, err)
	all := make(map[string]string)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".lua")
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if name != "shared" {
			all[name] = string(shared) + string(text)
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(all)), slices.Collect(maps.Keys(trials)), "each script has a trial")
	return all
}

func TestAnAnswerOfAnyScriptCanBeLost(t *testing.T) {
	server := redistest.Start(t)
	for name, text := range scripts(t) {
		t.Run(name, func(t *testing.T) {
			_, err := server.Do("SCRIPT", "LOAD", text) // or its first answer is that it is not there
			require.NoError(t, err)
			sum := sha1.Sum([]byte(text))
			sha := []byte(hex.EncodeToString(sum[:]))
			var armed atomic.Bool
			proxy := newForgetful(t, server.Addr, func(request []byte) bool {
				return bytes.Contains(request, sha) && armed.CompareAndSwap(true, false)
			})
			s := open(t, redisstore.Options{Addrs: []string{proxy.addr}, Term: time.Second})
			trials[name](trial{t, s, server, func() { armed.Store(true) }})
			require.Positive(t, proxy.forgot.Load(), "its answer was lost")
		})
	}
}

func TestTheServerCanForgetAnyScript(t *testing.T) {
	server := redistest.Start(t)
	for name := range scripts(t) {
		t.Run(name, func(t *testing.T) {
			s := open(t, redisstore.Options{Addrs: []string{server.Addr}, Term: time.Second})
			trials[name](trial{t, s, server, func() {
				_, err := server.Do("SCRIPT", "FLUSH")
				require.NoError(t, err)
			}})
		})
	}
}

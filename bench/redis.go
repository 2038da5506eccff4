package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
)

// What a store in Redis costs the server, which is one process on one core and is shared
// by all: the CPU time of a life, of leases that nothing happens to, its memory, and how
// long a client waits more than with a file.
const (
	redisWriters    = 64
	redisLives      = 3000
	redisSets       = 30000 // of 300 bytes, as many connections, each waits for its answer
	redisLifeLimit  = 20.0  // SETs
	redisLeases     = 30000
	redisReplicas   = 3
	redisIdle       = 20 * time.Second
	redisLeaseLimit = 0.10 // of a core
	redisBodies     = 10000
	redisPayload    = 6 << 10 // of an intent: what its parts are as JSON, and its body
	redisMemory     = 8 << 10
	redisP99Limit   = 2.0 // of that with a file
)

func measureRedis(ctx context.Context, b *bench) error {
	b.about("redis", "%d connections; a life is %d changes; %d leases of %d replicas", redisWriters, lifeChanges, b.sized(redisLeases), redisReplicas)
	server, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer server.kill()
	for _, measure := range []func(context.Context, *redisServer) error{b.measureLives, b.measureLeases, b.measureBodies, b.measureWait} {
		if err := measure(ctx, server); err != nil {
			return err
		}
		if _, err := server.do("FLUSHALL"); err != nil {
			return err
		}
	}
	return nil
}

// A redisServer is a redis-server that syncs every second.
type redisServer struct {
	*process
	addr string
}

func (b *bench) startRedis(ctx context.Context) (*redisServer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", b.dir, "--appendonly", "yes", "--save", "")
	s := &redisServer{&process{cmd: cmd}, addr}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for range 500 {
		if _, err = s.do("PING"); err == nil {
			return s, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.kill()
	return nil, fmt.Errorf("waiting for redis-server: %w", err)
}

// do sends one command and returns the answer as it comes.
func (s *redisServer) do(words ...string) (string, error) {
	c, err := dial(s.addr)
	if err != nil {
		return "", err
	}
	defer c.close()
	return c.redis(words...)
}

// redis sends a command and reads one line, or as much as the line says.
func (c *client) redis(words ...string) (string, error) {
	request := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := c.conn.Write(request); err != nil {
		return "", err
	}
	line, err := c.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "$") {
		return strings.TrimSpace(line), err
	}
	var size int
	if _, err := fmt.Sscanf(line, "$%d", &size); err != nil {
		return "", err
	}
	body := make([]byte, 0, size+2)
	for len(body) < size+2 {
		b, err := c.in.ReadByte()
		if err != nil {
			return "", err
		}
		body = append(body, b)
	}
	return string(body), nil
}

// number is a figure of what the server tells of itself.
func (s *redisServer) number(section, name string) (n int, err error) {
	text, err := s.do("INFO", section)
	if err != nil {
		return 0, err
	}
	_, after, found := strings.Cut(text, name+":")
	if !found {
		return 0, fmt.Errorf("redis tells no %s", name)
	}
	_, err = fmt.Sscanf(after, "%d", &n)
	return n, err
}

func openRedis(ctx context.Context, s *redisServer) (*redisstore.Store, error) {
	return redisstore.Open(ctx, redisstore.Options{Addrs: []string{s.addr}})
}

// atOnce does something n times by as many workers as there are connections.
func atOnce(n int, do func(worker, i int) error) error {
	var all sync.WaitGroup
	failures := make([]error, redisWriters)
	for w := range redisWriters {
		all.Go(func() {
			for i := w; i < n && failures[w] == nil; i += redisWriters {
				failures[w] = do(w, i)
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// cost is the CPU time of the server for each of n.
func (s *redisServer) cost(n int, do func(worker, i int) error) (time.Duration, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	if err := atOnce(n, do); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return (after - before) / time.Duration(n), err
}

// lifeChanges are those of an intent that is created, reports twice, and ends.
const lifeChanges = 4

func live(ctx context.Context, s store.Store, number int) error {
	in, events := runningIntent(time.Now().UTC(), number)
	held, err := s.Create(ctx, in, events)
	if err != nil {
		return err
	}
	for change := range lifeChanges - 1 {
		reading := intent.Reading{Status: intent.InProgress, Progress: new(float64(20 + change)), Message: strings.Repeat("row ", 20)}
		if change == lifeChanges-2 {
			reading = intent.Reading{Status: intent.Completed, Result: []byte(`{"url":"/reports/files/1.pdf"}`)}
		}
		next, more := held.Intent.Apply(reading, held.Intent.Updated.Add(time.Minute))
		if err := s.Append(ctx, store.Change{Intent: next, Epoch: held.Epoch, After: held.Intent.Seq, Events: more}); err != nil {
			return err
		}
		held.Intent = next
	}
	return nil
}

func (b *bench) measureLives(ctx context.Context, server *redisServer) error {
	s, err := openRedis(ctx, server)
	if err != nil {
		return err
	}
	defer s.Close()
	clients, err := dialAll(server.addr, redisWriters)
	if err != nil {
		return err
	}
	defer closeAll(clients)
	value := strings.Repeat("x", 300)
	var r rounds
	for round := range b.rounds + 1 {
		set, err := server.cost(b.sized(redisSets), func(w, i int) error {
			_, err := clients[w].redis("SET", fmt.Sprintf("key-%d", i%1000), value)
			return err
		})
		if err != nil {
			return err
		}
		life, err := server.cost(b.sized(redisLives), func(_, i int) error { return live(ctx, s, round*redisLives+i) })
		if err != nil {
			return err
		}
		if round > 0 { // the first one warms up
			r.add(float64(life.Microseconds()), float64(set.Nanoseconds())/1000)
		}
	}
	b.results = append(b.results, result{
		what:     "redis: CPU of a life",
		ours:     fmt.Sprintf("%.0f us", median(r.ours)),
		baseline: fmt.Sprintf("a SET %.1f us", median(r.baseline)),
		ratio:    r.ratio(), limit: redisLifeLimit,
	})
	return nil
}

// measureLeases has engines hold intents that nothing happens to.
func (b *bench) measureLeases(ctx context.Context, server *redisServer) error {
	n := b.sized(redisLeases)
	filler, err := openRedis(ctx, server)
	if err != nil {
		return err
	}
	err = atOnce(n, func(_, i int) error {
		in, events := runningIntent(time.Now().UTC(), i)
		in.Due = in.Created.Add(24 * time.Hour)
		held, err := filler.Create(ctx, in, events)
		if err != nil {
			return err
		}
		return filler.Release(ctx, held.Lease)
	})
	if err := errors.Join(err, filler.Close()); err != nil {
		return err
	}
	var engines []*engine.Engine
	for range redisReplicas {
		s, err := openRedis(ctx, server)
		if err != nil {
			return err
		}
		defer s.Close()
		g, err := settings(new(chatter), engine.DefaultPace, engine.DefaultInFlight, engine.DefaultRate)
		if err != nil {
			return err
		}
		e := engine.New(s)
		e.Use(g)
		e.Start()
		defer e.Stop()
		engines = append(engines, e)
	}
	if err := pause(ctx, 10*time.Second); err != nil { // all are claimed, and renewed once
		return err
	}
	before, err := server.cpu()
	if err != nil {
		return err
	}
	if err := pause(ctx, redisIdle); err != nil {
		return err
	}
	after, err := server.cpu()
	if err != nil {
		return err
	}
	share := (after - before).Seconds() / redisIdle.Seconds()
	b.results = append(b.results, result{
		what:     fmt.Sprintf("redis: %d leases of %d replicas", n, len(engines)),
		ours:     fmt.Sprintf("%.1f %% of a core", 100*share),
		baseline: "a core",
		ratio:    share, limit: redisLeaseLimit,
	})
	return nil
}

// payload pads the body of an intent until it is of the size that is measured.
func payload(in intent.Intent, events []intent.Event) (intent.Intent, error) {
	size := 0
	for _, part := range []any{in, events} {
		text, err := json.Marshal(part)
		if err != nil {
			return in, err
		}
		size += len(text)
	}
	in.Request, in.Captured = []byte(strings.Repeat("x", redisPayload-size)), true
	return in, nil
}

// measureBodies keeps intents of 6 KB.
func (b *bench) measureBodies(ctx context.Context, server *redisServer) error {
	s, err := openRedis(ctx, server)
	if err != nil {
		return err
	}
	defer s.Close()
	before, err := server.number("memory", "used_memory_dataset")
	if err != nil {
		return err
	}
	n := b.sized(redisBodies)
	err = atOnce(n, func(_, i int) error {
		in, events := runningIntent(time.Now().UTC(), i)
		in, err := payload(in, events)
		if err != nil {
			return err
		}
		_, err = s.Create(ctx, in, events)
		return err
	})
	if err != nil {
		return err
	}
	after, err := server.number("memory", "used_memory_dataset")
	if err != nil {
		return err
	}
	each := (after - before) / n
	b.results = append(b.results, result{
		what:     "redis: memory of an intent of 6 KB",
		ours:     fmt.Sprintf("%.1f KB", float64(each)/1024),
		baseline: fmt.Sprintf("%d KB", redisMemory>>10),
		ratio:    float64(each) / redisMemory, limit: 1,
	})
	return nil
}

// measureWait compares how long clients wait for the answer to a submit.
func (b *bench) measureWait(ctx context.Context, server *redisServer) error {
	backend, err := startBackend(submitWork)
	if err != nil {
		return err
	}
	defer backend.stop()
	ours, err := b.startCaddyOn(ctx, server.addr, "redis-ours", usualJob, backend)
	if err != nil {
		return err
	}
	defer ours.kill()
	bolt, err := b.startCaddy(ctx, "redis-bolt", usualJob, backend)
	if err != nil {
		return err
	}
	defer bolt.kill()
	var r rounds
	for round := range b.rounds + 1 {
		theirs, err := submitP99(bolt)
		if err != nil {
			return err
		}
		own, err := submitP99(ours)
		if err != nil {
			return err
		}
		if round > 0 { // the first one warms up
			r.add(own, theirs)
		}
	}
	b.results = append(b.results, result{
		what:     "redis: p99 of a submit",
		ours:     fmt.Sprintf("%.1f ms", median(r.ours)),
		baseline: fmt.Sprintf("with a file %.1f ms", median(r.baseline)),
		ratio:    r.ratio(), limit: redisP99Limit,
	})
	return nil
}

// submitP99 submits for one round and returns how long all but one in a hundred waited
// at most, in milliseconds.
func submitP99(c *caddyProcess) (float64, error) {
	clients, err := dialAll(c.addr, submitClients)
	if err != nil {
		return 0, err
	}
	defer closeAll(clients)
	waits := make([][]time.Duration, len(clients))
	failures := make([]error, len(clients))
	var all sync.WaitGroup
	begun := time.Now()
	for i, cl := range clients {
		all.Go(func() {
			for time.Since(begun) < submitRound && failures[i] == nil {
				asked := time.Now()
				_, failures[i] = cl.do(post, http.StatusAccepted)
				waits[i] = append(waits[i], time.Since(asked))
			}
		})
	}
	all.Wait()
	sorted := slices.Concat(waits...)
	slices.Sort(sorted)
	return float64(sorted[len(sorted)*99/100].Microseconds()) / 1000, errors.Join(failures...)
}

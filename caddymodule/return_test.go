//go:build e2e

package caddymodule_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// topics is how many intents a crowd follows, and how many others that are never cut
// are followed beside it by one observer each.
const topics = 10

// cuts is how often all connections are broken.
const cuts = 4

// TestACrowdThatIsCutAndComesBackMissesNothingAndCostsNoPoll breaks the connections of
// all observers at once, who come back at once, again and again; and then restarts Caddy under
// them, which cuts them itself.
func TestACrowdThatIsCutAndComesBackMissesNothingAndCostsNoPoll(t *testing.T) {
	begun := time.Now()
	n := int(soak.Number(t, "INTENTS_CROWD", 2000))
	p := newProcess(t)
	var script []legacytest.Status
	for step := range 300 {
		script = append(script, legacytest.Status{State: "running", Step: fmt.Sprintf("row %d", step)})
	}
	p.backend.EveryJobSays(script...)
	p.configure(strings.Replace(report, "poll 100ms {", "poll 1100ms {\njitter 0%", 1))
	p.Start()

	c := &returning{t: t, p: p}
	for i := range 2 * topics {
		id, job := p.submit()
		c.jobs = append(c.jobs, job)
		if i >= topics {
			c.follow(id, true)
			continue
		}
		for range n / topics {
			c.follow(id, false)
		}
	}
	c.wait(4) // created, submitted, delivered, and one by a poll
	cut, steady := -c.polls(c.jobs[:topics]), -c.polls(c.jobs[topics:])
	for range cuts {
		c.cut()
		c.wait(1)
	}
	cut += c.polls(c.jobs[:topics])
	steady += c.polls(c.jobs[topics:])
	// Where the counting falls between two polls makes up for one or two of each job.
	require.Less(t, cut, steady+cuts*topics*3/4, "coming back is no reason to poll")

	p.Terminate()
	require.Zero(t, p.ExitCode())
	p.Start()
	c.wait(1)
	elapsed := time.Since(begun)
	for _, job := range c.jobs {
		require.LessOrEqual(t, p.backend.Polls(job), int(elapsed/(1100*time.Millisecond))+1, "one poll per interval")
		p.backend.Finishes(job)
	}
	c.finish()
	t.Logf("%d observers, %d connections, %d events each on average; %d polls of what was cut, %d of what was not; %s",
		len(c.all), c.connections(), c.events()/len(c.all), cut, steady, time.Since(begun).Round(time.Millisecond))
}

// A returning crowd is made of followers that come back whenever they are cut.
type returning struct {
	t    *testing.T
	p    *process
	jobs []string
	all  []*returner
	done sync.WaitGroup
}

// A returner follows one intent to its end on as many connections as it takes.
type returner struct {
	addr, id string
	steady   bool // it is not cut by us

	mu    sync.Mutex
	moved sync.Cond
	conn  net.Conn // the last one
	dials int
	seq   int64
	seen  hash.Hash64 // of all frames, ids included
	over  bool
	err   error
}

func (c *returning) follow(id string, steady bool) {
	r := &returner{addr: c.p.addr, id: id, steady: steady, seen: fnv.New64a()}
	r.moved.L = &r.mu
	c.all = append(c.all, r)
	c.done.Go(r.run)
}

// wait returns when everybody has seen so many more events than it has now.
func (c *returning) wait(more int64) {
	c.t.Helper()
	until := make([]int64, len(c.all))
	for i, r := range c.all {
		r.mu.Lock()
		until[i] = r.seq + more
		r.mu.Unlock()
	}
	for i, r := range c.all {
		r.mu.Lock()
		for r.seq < until[i] && !r.over {
			r.moved.Wait()
		}
		over, err := r.over, r.err
		r.mu.Unlock()
		require.NoError(c.t, err)
		require.False(c.t, over, "the intent has ended")
	}
}

// cut resets all connections but the steady ones'.
func (c *returning) cut() {
	for _, r := range c.all {
		r.mu.Lock()
		if !r.steady && r.conn != nil {
			_ = r.conn.(*net.TCPConn).SetLinger(0)
			_ = r.conn.Close()
		}
		r.mu.Unlock()
	}
}

func (c *returning) polls(jobs []string) (n int) {
	for _, job := range jobs {
		n += c.p.backend.Polls(job)
	}
	return n
}

func (c *returning) connections() (n int) {
	for _, r := range c.all {
		n += r.dials
	}
	return n
}

func (c *returning) events() (n int) {
	for _, r := range c.all {
		n += int(r.seq)
	}
	return n
}

// finish waits for the end of all and asserts that those who followed one intent have
// seen the same.
func (c *returning) finish() {
	c.t.Helper()
	c.done.Wait()
	same := make(map[string]*returner)
	for _, r := range c.all {
		require.NoError(c.t, r.err)
		if first := same[r.id]; first == nil {
			same[r.id] = r
		} else {
			require.Equal(c.t, first.seq, r.seq)
			require.Equal(c.t, first.seen.Sum64(), r.seen.Sum64(), "another frame than others of %s", r.id)
		}
	}
}

func (r *returner) run() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for over := false; !over; {
		var err error
		if over, err = r.once(ctx); err != nil || ctx.Err() != nil {
			r.ends(errors.Join(err, ctx.Err()))
			return
		}
	}
	r.ends(nil)
}

func (r *returner) ends(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.err = true, err
	r.moved.Broadcast()
}

// once reads one connection to its end.
func (r *returner) once(ctx context.Context) (over bool, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		<-time.After(20 * time.Millisecond) // Caddy is away
		return false, nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r.mu.Lock()
	r.conn = conn
	r.dials++
	last := r.seq
	r.mu.Unlock()
	_, _ = fmt.Fprintf(conn, "GET /v1/intents/%s/events/stream HTTP/1.1\r\nHost: %s\r\nLast-Event-ID: %d\r\n\r\n", r.id, r.addr, last)
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 1<<10), nil)
	if err != nil {
		return false, nil // it is cut already
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("after event %d: %s", last, resp.Status)
	}
	for in := sse.NewReader(resp.Body); !over; {
		frame, err := in.Next()
		if err != nil {
			return false, nil // cut
		}
		if over, err = r.takes(frame); err != nil {
			return false, err
		}
	}
	return true, nil
}

// takes notes an event, which has to be the next one.
func (r *returner) takes(frame sse.Frame) (over bool, err error) {
	var e intent.Event
	if err := json.Unmarshal([]byte(frame.Data), &e); err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Seq != r.seq+1 || frame.ID != strconv.FormatInt(e.Seq, 10) {
		return false, fmt.Errorf("event %d (id %s, %s) follows event %d", e.Seq, frame.ID, frame.Event, r.seq)
	}
	r.seq = e.Seq
	_, _ = fmt.Fprintf(r.seen, "%s %s %s\n", frame.ID, frame.Event, frame.Data)
	r.moved.Broadcast()
	return e.Status.Terminal(), nil
}

package observe

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A conn is a response in memory. Like a connection it can stop taking bytes for a
// while, and a write then ends by its deadline.
type conn struct {
	header http.Header

	mu       sync.Mutex
	status   int
	received bytes.Buffer
	writes   []string // what each write gave; "flush" for each flush
	stuck    error    // if set, nothing more is taken, and this is what a write ends with
	deadline time.Time
	moved    chan struct{} // closed and replaced when the deadline changes, or the client goes on
}

func newConn() *conn {
	return &conn{header: make(http.Header), moved: make(chan struct{})}
}

func (c *conn) Header() http.Header { return c.header }

func (c *conn) WriteHeader(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.stuck != nil {
		if err := c.wait(); err != nil {
			return 0, err
		}
	}
	c.writes = append(c.writes, string(p))
	return c.received.Write(p)
}

// wait unlocks c until its deadline has passed or was moved.
func (c *conn) wait() error {
	left, moved := time.Until(c.deadline), c.moved
	if c.deadline.IsZero() {
		left = 1000 * time.Hour
	}
	if left <= 0 {
		return c.stuck
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-time.After(left):
	case <-moved:
	}
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.move()
	return nil
}

// move has a write that waits look again. The caller holds c.mu.
func (c *conn) move() {
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *conn) FlushError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, "flush")
	return nil
}

// stops makes the client take nothing more.
func (c *conn) stops(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = err
}

// goesOn makes it take again what it is sent.
func (c *conn) goesOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = nil
	c.move()
}

func (c *conn) wantNoDeadline(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Zero(t, c.deadline)
}

// take removes the first n bytes received, where n is what cut answers.
func (c *conn) take(cut func([]byte) int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.received.Next(cut(c.received.Bytes())))
}

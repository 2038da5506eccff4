package engine

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
)

// A capture keeps a copy of a body while it streams through, as long as it fits,
// and the hash of all of it. A transport may go on reading when it has answered.
type capture struct {
	mu   sync.Mutex
	body io.ReadCloser
	room int64 // for the copy, in bytes
	kept bytes.Buffer
	sum  hash.Hash
	long bool // it did not fit
	end  bool // all of it was seen
}

// newCapture returns a capture whose hash begins with what else has to be the same.
func newCapture(body io.ReadCloser, room int64, about string) *capture {
	c := &capture{body: body, room: room, sum: sha256.New()}
	if about != "" {
		sum := sha256.Sum256([]byte(about)) // of one length, so that no body begins where it ends
		c.sum.Write(sum[:])
	}
	return c
}

func (c *capture) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.body.Read(p)
	c.sum.Write(p[:n]) // a hash never fails
	switch {
	case c.long:
	case int64(c.kept.Len()+n) > c.room:
		c.long = true
		c.kept = bytes.Buffer{}
	default:
		c.kept.Write(p[:n])
	}
	if errors.Is(err, io.EOF) {
		c.end = true
	}
	return n, err
}

// Close leaves the body open: what a transport has no use for is still to be read for
// the hash. The server closes it when the request is over.
func (c *capture) Close() error { return nil }

// whole returns the body if all of it was seen and fitted.
func (c *capture) whole() ([]byte, bool) {
	if c == nil || !c.mu.TryLock() { // a transport waits for more of it
		return nil, false
	}
	defer c.mu.Unlock()
	if c.long || !c.end || c.room == 0 {
		return nil, false
	}
	return c.kept.Bytes(), true
}

// drain reads what the backend left unread.
func (c *capture) drain() {
	if c != nil {
		_, _ = io.Copy(io.Discard, c) // a body that broke off has another hash than a whole one
	}
}

// hash is that of what was read; of an absent body, that of an empty one.
func (c *capture) hash() []byte {
	if c == nil {
		sum := sha256.Sum256(nil)
		return sum[:]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum.Sum(nil)
}

package engine

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
)

// A capture keeps a copy of a body while it streams through, as long as it fits,
// and the hash of all of it.
type capture struct {
	body io.ReadCloser
	room int64 // for the copy, in bytes
	kept bytes.Buffer
	sum  hash.Hash
	long bool // it did not fit
	end  bool // all of it was seen
}

func newCapture(body io.ReadCloser, room int64) *capture {
	return &capture{body: body, room: room, sum: sha256.New()}
}

func (c *capture) Read(p []byte) (int, error) {
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

func (c *capture) Close() error { return c.body.Close() }

// whole returns the body if all of it was seen and fitted.
func (c *capture) whole() ([]byte, bool) {
	if c == nil || c.long || !c.end || c.room == 0 {
		return nil, false
	}
	return c.kept.Bytes(), true
}

// drain reads what the backend left unread.
func (c *capture) drain() {
	if c != nil && !c.end {
		_, _ = io.Copy(io.Discard, c) // a body that broke off has another hash than a whole one
	}
}

// hash is that of what was read; of an absent body, that of an empty one.
func (c *capture) hash() []byte {
	if c == nil {
		sum := sha256.Sum256(nil)
		return sum[:]
	}
	return c.sum.Sum(nil)
}

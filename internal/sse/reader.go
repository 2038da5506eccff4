package sse

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"time"
)

// MaxEvent bounds what a Reader keeps of one event, in bytes. None of our frames
// has a third of it.
const MaxEvent = 256 << 10

// ErrTooLong is returned by [Reader.Next] for an event above [MaxEvent].
var ErrTooLong = errors.New("event too long")

// A Reader decodes a stream of server-sent events as the standard says. Where
// the standard dispatches an event, Next returns it, as soon as its blank line
// has been read and without waiting for more.
type Reader struct {
	in    *bufio.Reader
	begun bool // the first line, before which a BOM may be, has been read
	skip  bool // a CR ended the line before: an LF now is part of it

	line    []byte
	id      string // last event id, in effect from the next dispatch
	lastID  string
	event   string
	data    []byte
	hasData bool
	retry   time.Duration
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReader(r)}
}

// LastEventID is what to send as Last-Event-ID when reconnecting.
func (r *Reader) LastEventID() string { return r.lastID }

// Retry is how long the server asked to wait before reconnecting; 0 if it did
// not.
func (r *Reader) Retry() time.Duration { return r.retry }

// Next returns the next event. A stream that was ended properly answers io.EOF;
// an event that the end cut off is dropped, as the standard says.
func (r *Reader) Next() (Frame, error) {
	for {
		if err := r.readLine(); err != nil {
			return Frame{}, err
		}
		if len(r.line) > 0 {
			r.field()
			continue
		}
		if f, ok := r.dispatch(); ok {
			return f, nil
		}
	}
}

// readLine reads one line into r.line, without its end: CR, LF or CRLF.
func (r *Reader) readLine() error {
	r.line = r.line[:0]
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		skip := r.skip && c == '\n'
		r.skip = c == '\r'
		switch {
		case skip:
			continue
		case c == '\n', c == '\r':
			r.dropBOM()
			return nil
		case len(r.line)+len(r.data) >= MaxEvent:
			return ErrTooLong
		}
		r.line = append(r.line, c)
	}
}

func (r *Reader) dropBOM() {
	if !r.begun {
		r.line = bytes.TrimPrefix(r.line, []byte("\ufeff"))
		r.begun = true
	}
}

// field interprets a line that is not blank. A comment has an empty name.
func (r *Reader) field() {
	name, value, _ := strings.Cut(toUTF8(r.line), ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "data":
		r.data = append(append(r.data, value...), '\n')
		r.hasData = true
	case "event":
		r.event = value
	case "id":
		if !strings.Contains(value, "\x00") {
			r.id = value
		}
	case "retry":
		if ms, ok := digits(value); ok {
			r.retry = time.Duration(ms) * time.Millisecond
		}
	}
}

// dispatch ends an event. One without a data line is none.
func (r *Reader) dispatch() (Frame, bool) {
	r.lastID = r.id
	f := Frame{ID: r.id, Event: r.event}
	ok := r.hasData
	if ok {
		f.Data = string(r.data[:len(r.data)-1])
	}
	if f.Event == "" {
		f.Event = "message"
	}
	r.event, r.data, r.hasData = "", r.data[:0], false
	return f, ok
}

// digits reads a number of ASCII digits only: no sign, no space. The bound keeps
// it a duration; nobody waits for more than a year.
func digits(s string) (n int64, ok bool) {
	const year = 366 * 24 * 3600 * 1000
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), year)
	}
	return n, s != ""
}

// toUTF8 replaces every byte that is no UTF-8 by U+FFFD.
func toUTF8(line []byte) string {
	return string([]rune(string(line)))
}

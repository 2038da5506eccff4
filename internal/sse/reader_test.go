package sse

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReaderFollowsTheStandard(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   []Frame
	}{
		"the standard's first example": {
			"data: YHOO\ndata: +2\ndata: 10\n\n",
			[]Frame{{Event: "message", Data: "YHOO\n+2\n10"}},
		},
		"the standard's second example": {
			": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
			[]Frame{{"1", "message", "first event"}, {"", "message", "second event"}, {"", "message", " third event"}},
		},
		"the standard's third example": {
			"data\n\ndata\ndata\n\ndata:",
			[]Frame{{Event: "message"}, {Event: "message", Data: "\n"}},
		},
		"every kind of line end":          {"data:a\r\rdata:b\r\n\r\ndata:c\n\n", messages("a", "b", "c")},
		"CR LF split over two lines only": {"data:a\r\ndata:b\r\n\r\n", messages("a\nb")},
		"a BOM at the start":              {"\ufeffdata:a\n\n", messages("a")},
		"a BOM later is part of a name":   {"data:a\n\n\ufeffdata:b\n\n", messages("a")},
		"names are exact":                 {"Data:a\n data:b\ndata :c\n\n", nil},
		"an event without data is none":   {"event: e\nid: 5\n\ndata:a\n\n", []Frame{{"5", "message", "a"}}},
		"an id with NUL is ignored":       {"id: 1\ndata:a\n\nid: 2\x00\ndata:b\n\n", []Frame{{"1", "message", "a"}, {"1", "message", "b"}}},
		"an event name is for one event":  {"event: e\ndata:a\n\ndata:b\n\n", []Frame{{"", "e", "a"}, {"", "message", "b"}}},
		"a cut event is dropped":          {"data:a\n\nid: 9\ndata:b\n", messages("a")},
		"a comment between":               {"data:a\n:\n: x\ndata:b\n\n", messages("a\nb")},
		"what is no UTF-8":                {"data:\xff\n\n", messages("\ufffd")},
		"only one space goes":             {"data:  a\n\n", messages(" a")},
		"a colon in the value":            {"data:a:b: c\n\n", messages("a:b: c")},
	} {
		t.Run(name, func(t *testing.T) {
			frames, err := all(strings.NewReader(c.stream))
			require.NoError(t, err)
			require.Equal(t, c.want, frames)
		})
	}
}

func TestReaderDoesNotWaitForMoreThanTheBlankLine(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r"} {
		in, out := io.Pipe()
		go func() {
			_, _ = io.WriteString(out, "data: now"+end)
		}() // ends when the pipe has been read
		f, err := NewReader(in).Next()
		require.NoError(t, err)
		require.Equal(t, "now", f.Data)
	}
}

func TestReaderRemembersWhereToGoOn(t *testing.T) {
	r := NewReader(strings.NewReader("retry: 1500\nid: 1\ndata:a\n\nretry: 1s\nretry: -1\nretry:\nid: 2\n\nid: 3\n"))
	_, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "1", r.LastEventID())
	require.Equal(t, 1500*time.Millisecond, r.Retry())
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "2", r.LastEventID(), "an event without data moves it, one that was cut does not")
	require.Equal(t, 1500*time.Millisecond, r.Retry(), "only digits count")
}

func TestReaderBoundsWhatItKeeps(t *testing.T) {
	for name, endless := range map[string]string{
		"line": "x", "data": "data: xxxxxxxxxxxxxxxx\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewReader(&repeat{text: endless}).Next()
			require.ErrorIs(t, err, ErrTooLong)
		})
	}
}

func TestReaderPassesOnHowTheStreamBroke(t *testing.T) {
	broke := errors.New("reset by peer")
	_, err := NewReader(io.MultiReader(strings.NewReader("data: a\n"), iotest.ErrReader(broke))).Next()
	require.ErrorIs(t, err, broke)
}

// FuzzReader compares the incremental decoder with one that has the whole stream
// at once and follows the text of the standard step by step.
func FuzzReader(f *testing.F) {
	f.Add("data: a\r\n\r\nid: 1\nevent: e\rdata\n\n")
	f.Add("\ufeff: c\ndata:\xff\n\n\x00")
	f.Add("\r\n\n\rretry: 99999999999999999999\ndata:x\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		if len(stream) > MaxEvent/4 {
			return
		}
		frames, err := all(strings.NewReader(stream))
		require.NoError(t, err)
		require.Equal(t, reference(stream), frames)
		bytewise, err := all(iotest.OneByteReader(strings.NewReader(stream)))
		require.NoError(t, err)
		require.Equal(t, frames, bytewise)
	})
}

func reference(stream string) (frames []Frame) {
	stream = string([]rune(stream))
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream)
	lines := strings.Split(stream, "\n")
	var id, event string
	var data []string
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if data != nil {
				frame := Frame{ID: id, Event: event, Data: strings.Join(data, "\n")}
				if event == "" {
					frame.Event = "message"
				}
				frames = append(frames, frame)
			}
			event, data = "", nil
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case name == "data":
			data = append(data, value)
		case name == "event":
			event = value
		case name == "id" && !strings.Contains(value, "\x00"):
			id = value
		}
	}
	return frames
}

// all reads frames until the stream ends, which is no error.
func all(in io.Reader) (frames []Frame, err error) {
	r := NewReader(in)
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
}

func messages(data ...string) (frames []Frame) {
	for _, d := range data {
		frames = append(frames, Frame{Event: "message", Data: d})
	}
	return frames
}

// repeat is a stream that never ends.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[r.at]
		r.at = (r.at + 1) % len(r.text)
	}
	return len(p), nil
}

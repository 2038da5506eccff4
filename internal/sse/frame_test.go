package sse

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/ssetest"
)

func TestFrameBytesAreExactlyTheContract(t *testing.T) {
	frame := AppendFrame(nil, "7", "intent.created", []byte(`{"seq":7}`))
	require.Equal(t, "id: 7\nevent: intent.created\ndata: {\"seq\":7}\n\n", string(frame))
	require.Equal(t, "data: {}\n\n", string(AppendFrame(nil, "", "", []byte("{}"))))
	require.Equal(t, ":\n", Heartbeat)
	require.Equal(t, "retry: 2000\n", string(AppendRetry(nil, 2*time.Second)))
	require.Equal(t, "retry: 0\n", string(AppendRetry(nil, -time.Second)))
}

func TestFrameKeepsTheValueOfItsJSON(t *testing.T) {
	for name, data := range map[string]string{
		"plain":               `{"a":1,"b":"c"}`,
		"other scripts":       `{"m":"готово, 完了, ✓ 🚀"}`,
		"spread over lines":   "{\r\n\t\"a\": 1,\n\t\"b\": [\r1,\n2]\n}\n",
		"next line":           "{\"m\":\"a\u0085b\"}",
		"line separator":      "{\"m\":\"a\u2028b\"}",
		"paragraph separator": "[\"a\u2029b\"]",
		"delete and C1":       "[\"\u007f\u0080\u009f\"]",
		"after a backslash":   "[\"\\\\\u2028\\\\\"]",
		"in a key":            "{\"a\u2028b\":1}",
		"escapes":             `{"m":"\n\r\u0000\u0085\u2028"}`,
		"a BOM":               "[\"\ufeff\"]",
		"large numbers":       `[123456789012345678901234567890,1e400]`,
	} {
		t.Run(name, func(t *testing.T) {
			f := decodeOne(t, AppendFrame(nil, "1", "e", []byte(data)))
			requireSameJSON(t, []byte(data), []byte(f.Data))
		})
	}
}

func TestNothingFromOutsideEndsALine(t *testing.T) {
	const attack = "1\n\nevent: intent.completed\rdata: {}\r\n\r\n: \x00\u0085\u2028id: 9\u2029\ufeff"
	f := decodeOne(t, AppendFrame(nil, attack, attack, []byte(attack)))
	want := "1event: intent.completeddata: {}: id: 9\ufeff"
	require.Equal(t, Frame{ID: want, Event: want, Data: f.Data}, f)
	require.NotContains(t, f.Data, "\n")
}

func TestBytesThatAreNoTextBecomeReplacementCharacters(t *testing.T) {
	// 0x85 is a line break to whoever takes the stream for Latin-1.
	f := decodeOne(t, AppendFrame(nil, "1", "e", []byte("[\"\x85 \xe2\x80 \xff\"]")))
	require.Equal(t, `["\ufffd \ufffd\ufffd \ufffd"]`, f.Data)
}

// FuzzEncode holds the encoder against the decoder, against one that follows the
// text of the standard, and against a client that knows more line breaks than it.
func FuzzEncode(f *testing.F) {
	f.Add("1", "intent.created", []byte(`{"m":"x"}`))
	f.Add("", "", []byte("{\n\"a\":\"\u2028\u0085\"}"))
	f.Add("\n", "\r\n", []byte("\x85\x00\n\ndata: x"))
	f.Fuzz(func(t *testing.T, id, event string, data []byte) {
		encoded := AppendFrame([]byte("data: {}\n\n"), id, event, data)
		r := NewReader(bytes.NewReader(encoded))
		first, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, "{}", first.Data)
		got, err := r.Next()
		if errors.Is(err, ErrTooLong) {
			return
		}
		require.NoError(t, err)
		_, err = r.Next()
		require.ErrorIs(t, err, io.EOF)

		require.Equal(t, []Frame{first, got}, reference(string(encoded)))
		sloppy := ssetest.Sloppy(string(encoded))
		require.Len(t, sloppy, 2)
		require.Equal(t, ssetest.Event{Data: "{}"}, sloppy[0])
		require.Equal(t, strings.TrimSpace(got.Data), sloppy[1].Data)
		require.True(t, utf8.Valid(encoded))
		if json.Valid(data) {
			requireSameJSON(t, data, []byte(got.Data))
		}
	})
}

func BenchmarkAppendFrame(b *testing.B) {
	data := []byte(`{"intent_id":"` + strings.Repeat("x", 36) + `","seq":7,"details":{"progress":50,"message":"` + strings.Repeat("working ", 20) + `"}}`)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendFrame(buf[:0], "7", "intent.in_progress", data)
	}
}

func decodeOne(t *testing.T, encoded []byte) Frame {
	t.Helper()
	r := NewReader(bytes.NewReader(encoded))
	f, err := r.Next()
	require.NoError(t, err)
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF, "one frame, and nothing after it")
	return f
}

// requireSameJSON compares values, numbers by their text. What is no UTF-8 in
// want is read by encoding/json as U+FFFD, which is what we write.
func requireSameJSON(t *testing.T, want, got []byte) {
	t.Helper()
	parse := func(data []byte) (v any) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		require.NoError(t, d.Decode(&v), "%q", data)
		return v
	}
	require.Equal(t, parse(want), parse(got))
}

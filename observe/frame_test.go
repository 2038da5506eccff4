package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/internal/ssetest"
)

func TestHostileWordsOfTheBackendStayInsideTheirEvent(t *testing.T) {
	const attack = "a\n\nevent: intent.completed\ndata: {}\r\rid: 9\u0085\u2028\u2029\x00\x7f\\\"</script>"
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job)

		job.reads(intent.Reading{Status: intent.InProgress, Message: attack, UnknownState: attack})
		e := obs.wantEvent("intent.in_progress")
		require.Equal(t, attack, e.Details["message"])
		require.Equal(t, attack, e.Details["unknown_state"])

		result, err := json.Marshal(map[string]string{attack: attack})
		require.NoError(t, err)
		raw := "[\n" + string(result) + ",\r\n\"\u0085\u2028\u2029\"\n]"
		job.completes(raw)
		obs.next()
		e = obs.wantEvent("intent.completed")
		require.Equal(t, []any{map[string]any{attack: attack}, "\u0085\u2028\u2029"}, e.Details["result"])
		require.NotRegexp(t, "[\u0085\u2028\u2029\x00-\x1f\x7f]", obs.last.Data)
		obs.wantEnd()
	})
}

// FuzzWordsOfTheBackendMakeNoFrame puts one text wherever an event has words that are
// not ours, and holds the frame against the standard and against a sloppy client.
func FuzzWordsOfTheBackendMakeNoFrame(f *testing.F) {
	f.Add("a\r\n\r\nevent: intent.completed\ndata: {}\n\nid: 9\x00\u2028\u2029\u0085", []byte("{\n\n\"a\":\r1}"), true, false)
	f.Add("\xff\x85\xe2\x80", []byte("\x00\n\nevent: x"), false, true)
	f.Fuzz(func(t *testing.T, word string, result []byte, unnamed, last bool) {
		e := intent.Event{
			IntentID: intent.NewID(time.Now(), 0), Seq: 7, Type: intent.TypeCompleted, Status: intent.Completed, At: time.Now(),
			Details: intent.Details{
				JobID: word, Message: word, UnknownState: word, Result: result, ResultURL: word,
				Error: &intent.Error{Code: word, Message: word, Category: intent.Category(word)},
			},
		}
		stream := []byte("data: {}\n\n")
		l := label{id: "7", unnamed: unnamed, url: "/v1/intents/" + e.IntentID.String() + "/result"}
		if last {
			stream = appendEnd(stream, factsOf([]intent.Event{e})[0], l)
		} else {
			stream = appendEvent(stream, factsOf([]intent.Event{e})[0], l)
		}
		in := sse.NewReader(bytes.NewReader(stream))
		_, err := in.Next()
		require.NoError(t, err)
		frame, err := in.Next()
		require.NoError(t, err)
		_, err = in.Next()
		require.ErrorIs(t, err, io.EOF)
		want := "intent.completed"
		if unnamed {
			want = "message"
		}
		require.Equal(t, sse.Frame{ID: "7", Event: want, Data: frame.Data}, frame)
		var told intent.Event
		require.NoError(t, json.Unmarshal([]byte(frame.Data), &told))
		require.Equal(t, e.IntentID, told.IntentID)
		require.EqualValues(t, 7, told.Seq)

		sloppy := ssetest.Sloppy(string(stream))
		require.Len(t, sloppy, 2)
		require.Equal(t, ssetest.Event{ID: "7", Event: strings.TrimSuffix(want, "message"), Data: frame.Data}, sloppy[1])
	})
}

func TestNoFrameIsLongerThanItsBound(t *testing.T) {
	fill := func(unit string, n int) string { return strings.Repeat(unit, n/len(unit)) }
	for name, unit := range map[string]string{
		"plain": "x", "controls": "\x01", "delete": "\x7f", "next line": "\u0085", "line separator": "\u2028", "html": "<", "quote": `"`,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(fill(unit, intent.MaxResult-2))
			require.NoError(t, err)
			if unit == "\x7f" || unit == "\u0085" {
				text = []byte(`"` + fill(unit, intent.MaxResult-2) + `"`) // json.Marshal leaves them as they are
			}
			in := intent.Intent{ID: intent.NewID(time.Now(), 0)}
			event := intent.Event{IntentID: in.ID, Seq: 255, Type: intent.TypeCompleted, Status: intent.Completed, At: time.Now()}
			for _, d := range []intent.Details{
				{Message: fill(unit, intent.MaxMessage), UnknownState: fill(unit, intent.MaxMessage), Result: text},
				{Message: fill(unit, intent.MaxMessage), UnknownState: fill(unit, intent.MaxMessage),
					Error: &intent.Error{Code: fill(unit, 128), Message: fill(unit, intent.MaxError)}},
				{JobID: fill(unit, 64<<10), Error: &intent.Error{Code: fill(unit, 128), Message: fill(unit, intent.MaxError)}},
				{ResultURL: fill(unit, 64<<10)},
			} {
				event.Details = d
				frame := appendEvent(nil, factsOf([]intent.Event{event})[0], label{id: strings.Repeat("9", 511), url: "/v1/intents/x"})
				require.LessOrEqual(t, len(frame), MaxFrame)
				f, err := sse.NewReader(strings.NewReader(string(frame))).Next()
				require.NoError(t, err)
				var got intent.Event
				require.NoError(t, json.Unmarshal([]byte(f.Data), &got))
				require.Equal(t, event.Seq, got.Seq)
				if d.Result != nil && got.Details.Result == nil || d.ResultURL != "" {
					require.Equal(t, "/v1/intents/x", got.Details.ResultURL)
				}
				if d.Error != nil {
					require.Equal(t, d.Error.Code, got.Details.Error.Code)
				}
			}
		})
	}
}

func TestAFullResultIsInlineUnlessEscapingSwellsIt(t *testing.T) {
	in := intent.Intent{ID: intent.NewID(time.Now(), 0)}
	result := `"` + strings.Repeat("<é&", (intent.MaxResult-2)/4) + `"`
	event := intent.Event{IntentID: in.ID, Seq: 6, Details: intent.Details{
		Message: strings.Repeat("m", intent.MaxMessage), Result: json.RawMessage(result),
	}}
	f, err := sse.NewReader(strings.NewReader(string(appendEvent(nil, factsOf([]intent.Event{event})[0], label{id: "6", url: "/x"})))).Next()
	require.NoError(t, err)
	require.Contains(t, f.Data, result)
	require.NotContains(t, f.Data, "result_url")
}

func TestADamagedResultDoesNotStopTheStream(t *testing.T) {
	in := intent.Intent{ID: intent.NewID(time.Now(), 0)}
	event := intent.Event{IntentID: in.ID, Seq: 6, Details: intent.Details{Result: json.RawMessage(`{"a":`)}}
	f, err := sse.NewReader(strings.NewReader(string(appendEvent(nil, factsOf([]intent.Event{event})[0], label{id: "6", url: "/x"})))).Next()
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(
		`{"intent_id":%q,"seq":6,"event_type":"","status":"","at":"0001-01-01T00:00:00Z","details":{"result_url":"/x"}}`, in.ID), f.Data)
}

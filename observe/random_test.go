package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

func TestRandomWordsMakeOneFrame(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := intent.NewID(now, 0)
	soak.Randomly(t, func(random *rand.Rand) error {
		word := soak.Hostile(random)
		result := json.RawMessage(soak.Hostile(random))
		if random.IntN(2) == 0 {
			result, _ = json.Marshal(map[string]string{word: word})
		}
		e := intent.Event{IntentID: id, Seq: 7, Type: intent.TypeCompleted, Status: intent.Completed, At: now, Details: intent.Details{
			JobID: word, Message: word, UnknownState: word, Result: result, ResultURL: word, Backend: word, Waiting: word,
			Error: &intent.Error{Code: word, Message: word, Category: intent.Category(word)},
		}}
		frame := appendEvent(nil, factsOf([]intent.Event{e})[0], label{id: "7", url: "/v1/intents/x"})
		lines := bytes.Split(frame, []byte("\n"))
		if len(lines) != 5 || string(lines[0]) != "id: 7" || string(lines[1]) != "event: intent.completed" || len(lines[3])+len(lines[4]) != 0 {
			return fmt.Errorf("%q of %q", frame, word)
		}
		if strings.ContainsAny(string(lines[2]), "\r\x00\x1b\x7f\u0085\u2028\u2029") {
			return fmt.Errorf("%q of %q", frame, word)
		}
		data, ok := bytes.CutPrefix(lines[2], []byte("data: "))
		if !ok {
			return fmt.Errorf("%q of %q", frame, word)
		}
		var told intent.Event
		if err := json.Unmarshal(data, &told); err != nil || told.Seq != 7 || told.IntentID != id {
			return fmt.Errorf("%q of %q: %w", data, word, err)
		}
		if utf8.ValidString(word) && told.Details.Message != word {
			return fmt.Errorf("%q came as %q", word, told.Details.Message)
		}
		return nil
	})
}

// What clients send comes back in problems.
func TestRandomWordsOfClientsAreAnsweredAsJSON(t *testing.T) {
	soak.Randomly(t, func(random *rand.Rand) error {
		word := soak.Hostile(random)
		w := httptest.NewRecorder()
		r := &http.Request{Method: http.MethodGet, Header: http.Header{}}
		(&Problem{Status: http.StatusBadRequest, Code: "x", Message: word, Details: map[string]any{word: word}}).ServeHTTP(w, r)
		var told struct{ Error struct{ Message string } }
		if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
			return fmt.Errorf("%q: %w", w.Body, err)
		}
		for name, values := range w.Header() {
			if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
				return fmt.Errorf("%s: %q", name, values)
			}
		}
		return nil
	})
}

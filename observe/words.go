package observe

import (
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// Words are another way to say how an intent stands than by its events: with each
// frame, whole. So a reader that is behind is told the latest when it goes on, and
// nothing of what was between: no more than one frame waits for it.
type Words interface {
	// Say returns the data of the next frame, and nil if nothing is new since the
	// last one. Without ok it cannot be said any more, and the stream is cut.
	Say(in *intent.Intent, last intent.EventType) (data []byte, ok bool)
}

// MaxWords bounds a frame in other words, in bytes.
const MaxWords = 72 << 10

// FitsWords reports whether a frame with this data can be sent.
func FitsWords(data []byte) bool { return len(sse.AppendFrame(nil, longestID, "", data)) <= MaxWords }

const longestID = "9223372036854775807"

// Speak answers a request with a stream of an intent in other words. Who may see it is
// the caller's business. A client that comes back gets the latest; one that has seen
// the end gets 204.
func (s *Server) Speak(w http.ResponseWriter, r *http.Request, in *intent.Intent, words Words) {
	if st := s.speaker(w, r, in, words); st != nil {
		st.serve(r.Context()) // here s is no longer referred to
	}
}

func (s *Server) speaker(w http.ResponseWriter, r *http.Request, in *intent.Intent, words Words) *stream {
	st := &stream{
		hub: s.Hub, log: s.Store, words: words,
		heartbeat: s.Heartbeat, leaveAt: time.Now().Add(jitter(maxAge, 0.1)), leave: EndAge, ended: s.Ended,
		tracks: []track{{id: in.ID, cursor: in.EventID(max(in.Seq-1, 0))}},
	}
	if last, ok := number(r.Header.Get("Last-Event-ID")); ok && in.Status.Terminal() && last == in.EventID(in.Seq) {
		writeHead(w, true)
		return nil
	}
	if err := s.begin(st, w, in.Owner); err != nil {
		problemOf(err).ServeStream(w, r)
		return nil
	}
	return st
}

// say appends the frame that says how the intent stands, if that is new.
func (st *stream) say(t *track, in *intent.Intent, events []intent.Event, frames *[]byte) End {
	if n := len(events); n > 0 {
		t.last = events[n-1].Type
	}
	data, ok := st.words.Say(in, t.last)
	if !ok {
		return EndUnsaid
	}
	if data == nil {
		return ""
	}
	t.cursor = in.EventID(in.Seq)
	if t.over = in.Status.Terminal(); t.over {
		*frames = sse.AppendRetry(*frames, 24*time.Hour)
	}
	before := len(*frames)
	*frames = sse.AppendFrame(*frames, strconv.FormatInt(t.cursor, 10), "", data)
	if len(*frames)-before > MaxWords {
		*frames = (*frames)[:0]
		return EndUnsaid
	}
	return ""
}

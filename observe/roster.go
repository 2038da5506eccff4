package observe

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddy-intents/caddy-intents/intent"
)

// maxTogether is how many intents one stream can follow. Their cursors have to fit
// into one id of less than 512 bytes.
const maxTogether = 100

// A roster is the intents that are followed together, in the order of their ids.
//
// Its cursor tells of each how far the client is, as base64url of
//
//	version 1 | roster 8 | event id, uvarint ...
//
// An event id has 2 bytes up to generation 15 and 3 up to 2047, so that 100 intents
// take 9 + 300 bytes, 412 as text. An id that would be longer counts as 0: such a
// client gets an intent once more, and a store has to lose its tail 2048 times
// before that happens. The roster is a hash of the ids: a cursor of other intents
// says nothing about these.
type roster struct {
	mark [8]byte
	size int
}

const (
	cursorVersion = 1
	maxPosition   = 1<<21 - 1 // in 3 bytes of uvarint
)

func newRoster(ids []intent.ID) *roster {
	h := sha256.New()
	for _, id := range ids {
		h.Write(id[:])
	}
	return &roster{mark: [8]byte(h.Sum(nil)), size: len(ids)}
}

// cursor is the id of the event after which the tracks are where they are.
func (ro *roster) cursor(tracks []track) string {
	b := make([]byte, 0, 1+len(ro.mark)+3*len(tracks))
	b = append(append(b, cursorVersion), ro.mark[:]...)
	for _, t := range tracks {
		position := uint64(t.cursor)
		if position > maxPosition {
			position = 0
		}
		b = binary.AppendUvarint(b, position)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// read returns the positions that a cursor tells; nil if it is none of this roster.
func (ro *roster) read(text string) []int64 {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 1+len(ro.mark) || b[0] != cursorVersion || !bytes.Equal(b[1:1+len(ro.mark)], ro.mark[:]) {
		return nil
	}
	b = b[1+len(ro.mark):]
	var positions []int64
	for len(b) > 0 {
		position, n := binary.Uvarint(b)
		if n <= 0 || position > maxPosition {
			return nil
		}
		positions, b = append(positions, int64(position)), b[n:]
	}
	if len(positions) != ro.size {
		return nil
	}
	return positions
}

// openTogether opens a stream of several intents. All of them have to be ones that
// the client may read, before anything is sent.
func (s *Server) openTogether(w http.ResponseWriter, r *http.Request, _ string) (*stream, error) {
	wanted, err := readWanted(r.URL.Query())
	if err != nil {
		return nil, err
	}
	seen := make([]sight, len(wanted))
	ids := make([]intent.ID, len(wanted))
	for i, want := range wanted {
		if seen[i], err = s.see(r, want.id, want.token); err != nil {
			return nil, s.orElsewhere(r, want.id, want.token, err)
		}
		ids[i] = seen[i].ID
	}
	ro := newRoster(ids)
	from, err := ro.from(r, seen)
	if err != nil {
		return nil, err
	}
	return s.stream(w, r, seen, from, ro)
}

// from is where to go on with each intent: the later of what `since` and
// `Last-Event-ID` say, the start if neither says anything about these.
func (ro *roster) from(r *http.Request, seen []sight) ([]int64, error) {
	query := r.URL.Query()
	since := ro.read(query.Get("since"))
	if text := query.Get("since"); text != "" && text != "0" && since == nil {
		return nil, BadRequest("since must be the id of an event of a stream of the same intents")
	}
	last := ro.read(r.Header.Get("Last-Event-ID"))
	from := make([]int64, len(seen))
	for i := range seen {
		if since != nil {
			from[i] = since[i]
		}
		if last != nil {
			from[i] = max(from[i], last[i])
		}
		from[i] = cursor{since: from[i], lastID: unsaid}.in(seen[i].Generation)
	}
	return from, nil
}

// A wanted intent is one that a client names, with the token that it has for it.
type wanted struct{ id, token string }

// readWanted reads which intents to follow, each once, in the order of their ids.
// The n-th token is for the n-th id.
func readWanted(query url.Values) ([]wanted, error) {
	ids, tokens := query["id"], query["token"]
	if len(ids) == 0 || len(ids) > maxTogether {
		return nil, BadRequest(fmt.Sprintf("id must be given 1 to %d times", maxTogether))
	}
	all := make([]wanted, len(ids))
	for i, id := range ids {
		all[i].id = id
		if i < len(tokens) {
			all[i].token = tokens[i]
		}
	}
	slices.SortStableFunc(all, func(a, b wanted) int { return cmp.Compare(a.id, b.id) })
	return slices.CompactFunc(all, func(a, b wanted) bool { return a.id == b.id }), nil
}

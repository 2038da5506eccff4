package observe

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A cursor is what a request says about the last event its client has seen.
type cursor struct {
	since  int64 // `since`: an event id, or a seq of the current generation; unsaid if not given
	lastID int64 // `Last-Event-ID`: an event id; unsaid if not given, or garbage
}

const unsaid = -1

// readCursor reads both. The header is written by browsers and libraries, from
// whatever stream the client was on before: garbage in it is nobody's mistake.
func readCursor(r *http.Request) (cursor, error) {
	since, err := readSince(r.URL.Query())
	if err != nil {
		return cursor{}, err
	}
	c := cursor{since: since, lastID: unsaid}
	if id, ok := number(r.Header.Get("Last-Event-ID")); ok {
		c.lastID = id
	}
	return c, nil
}

func readSince(query url.Values) (int64, error) {
	if !query.Has("since") {
		return unsaid, nil
	}
	n, ok := number(query.Get("since"))
	if !ok {
		return 0, BadRequest("since must be the id or the seq of an event, or 0")
	}
	return n, nil
}

// number reads a number as we write them: digits, no sign.
func number(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// in returns the event id to go on after, for an intent whose log is of the given
// generation: the larger of the two, the log's start if neither was given.
func (c cursor) in(generation int64) int64 {
	start := generation * intent.SeqsPerGeneration
	since := c.since
	if since != unsaid && since < intent.SeqsPerGeneration {
		since += start
	}
	if id := max(since, c.lastID); id != unsaid {
		return id
	}
	return start
}

// A place is an event id taken apart.
type place struct{ generation, seq int64 }

// id is the event id of a place.
func (p place) id() int64 { return p.generation*intent.SeqsPerGeneration + p.seq }

func split(id int64) place {
	return place{id / intent.SeqsPerGeneration, id % intent.SeqsPerGeneration}
}

// within reports whether the intent's log has this place, its start and its end
// included. If not, the log lost its tail, or never was what the client thinks.
func (p place) within(in *intent.Intent) bool {
	return p.generation == in.Generation && p.seq <= in.Seq
}

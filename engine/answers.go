package engine

import (
	"container/list"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// What is kept of answers is for whoever asks for a status that was just read. It is
// a cache: whatever is not in it costs a request to the backend.
const (
	maxAnswers     = 10_000
	maxAnswerBytes = 64 << 20
	// keptAfterEnd is how long the last answer of an ended intent speaks for its job.
	// After that the backend may have reused the job's id, or want to say more.
	keptAfterEnd = time.Minute
)

// answers holds the last answers of the polls of those intents that somebody asks
// about by their status URL. Guarded by Engine.mu.
type answers struct {
	entries map[intent.ID]*list.Element // of *answerEntry
	order   list.List                   // most recently used first
	bytes   int
}

type answerEntry struct {
	id     intent.ID
	answer *adapter.Answer // nil: it is wanted, and there has been none yet
	asked  moment          // when the poll that it answers began
	voided moment          // what was asked before says nothing any more
	ended  moment          // when a reading ended the intent; 0 if none has
	last   moment          // when what that reading answers was asked
	copied bool            // the poll carried headers of the submit
	ends   bool            // the answer says that the job is over
	unkept bool            // the last poll was answered, in words that are not kept
	news   bool            // the answer differs from the one before, and nobody was told
	shared chan struct{}   // closed when the next step is over; nil if nobody waits for that

	// Where several replicas share the store:
	wanted    moment     // others want to be told until then
	mark      string     // of the body that they were told
	slow      bool       // the last poll took long
	elsewhere *elsewhere // what another one has told, if that one holds the intent
}

// voids reports whether what was asked at a moment says nothing any more.
func (a *answerEntry) voids(asked moment) bool { return a.voided > 0 && asked <= a.voided }

// want returns the entry of an intent, a new one if there is none: from now on the
// answers of its polls are kept.
func (a *answers) want(id intent.ID) *answerEntry {
	if e, ok := a.entries[id]; ok {
		a.order.MoveToFront(e)
		return e.Value.(*answerEntry)
	}
	if a.entries == nil {
		a.entries = make(map[intent.ID]*list.Element)
	}
	entry := &answerEntry{id: id}
	a.entries[id] = a.order.PushFront(entry)
	a.trim()
	return entry
}

// wanted returns the entry of an intent, nil if there is none.
func (a *answers) wanted(id intent.ID) *answerEntry {
	if e, ok := a.entries[id]; ok {
		return e.Value.(*answerEntry)
	}
	return nil
}

// put sets or, with nil, takes away what an entry holds.
func (a *answers) put(entry *answerEntry, answer *adapter.Answer, asked moment) {
	a.bytes -= weight(entry.answer)
	entry.answer, entry.asked, entry.ends, entry.unkept = answer, asked, false, false
	a.bytes += weight(answer)
	a.trim()
}

func (a *answers) trim() {
	for len(a.entries) > maxAnswers || a.bytes > maxAnswerBytes {
		oldest := a.order.Remove(a.order.Back()).(*answerEntry)
		if oldest.shared != nil {
			close(oldest.shared) // they find nothing, and ask the backend
		}
		a.bytes -= weight(oldest.answer)
		delete(a.entries, oldest.id)
	}
}

func weight(a *adapter.Answer) int {
	if a == nil {
		return 0
	}
	return len(a.Body) + HeadSize(a.Header)
}

// lineCost is what a header line takes in memory besides its text: a backend can send
// a million of a few bytes.
const lineCost = 100

// HeadSize is about how much memory a head takes, in bytes.
func HeadSize(h http.Header) int {
	n := 0
	for name, values := range h {
		n += lineCost + len(name)
		for _, v := range values {
			n += lineCost + len(v)
		}
	}
	return n
}

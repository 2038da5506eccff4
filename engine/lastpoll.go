package engine

import (
	"bytes"
	"container/list"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// What is remembered of the last polls is for an operator who looks at an intent. It is
// lost with the process, and what was polled longest ago goes first.
const (
	maxLastPolls     = 10_000
	maxLastPollBytes = 16 << 20
	maxLastBody      = 16 << 10 // of a longer one the beginning is kept
	maxLastHead      = 8 << 10  // a larger one is not kept
	maxExcerpt       = 1 << 10  // of a body, for the operator
	lastPollCost     = 400      // in memory, besides the answer
)

// lastPolls remembers what the last poll of each intent brought.
type lastPolls struct {
	mu    sync.Mutex
	of    map[intent.ID]*list.Element // of *lastPoll
	order list.List                   // the latest first
	bytes int
}

// A lastPoll is what the last poll of an intent brought. It is not changed, but replaced.
type lastPoll struct {
	id      intent.ID
	at      time.Time
	code    int // 0: there was no answer
	outcome adapter.Outcome
	reason  string // why it said nothing about the job
	err     string // why there was no answer

	shared    bool            // the answer was about several intents, and is not kept
	answer    *adapter.Answer // nil if it is not kept
	whole     bool            // answer is all that there was
	memory    string          // of the adapter, when it was read
	confirmed time.Time       // when a later poll was told that nothing has changed; zero if none was
}

func (p *lastPoll) weight() int {
	w := lastPollCost + len(p.reason) + len(p.err)
	if p.answer != nil {
		w += cap(p.answer.Body) + HeadSize(p.answer.Header)
	}
	return w
}

// note remembers a poll.
func (l *lastPolls) note(p *lastPoll) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[intent.ID]*list.Element)
	}
	if e, ok := l.of[p.id]; ok {
		before := e.Value.(*lastPoll)
		if p.code == http.StatusNotModified && before.answer != nil {
			again := *before
			again.confirmed = p.at
			p = &again
		}
		l.bytes += p.weight() - before.weight()
		e.Value = p
		l.order.MoveToFront(e)
	} else {
		l.of[p.id] = l.order.PushFront(p)
		l.bytes += p.weight()
	}
	for len(l.of) > maxLastPolls || l.bytes > maxLastPollBytes {
		oldest := l.order.Remove(l.order.Back()).(*lastPoll)
		l.bytes -= oldest.weight()
		delete(l.of, oldest.id)
	}
}

// get returns what is remembered of an intent's last poll; nil for nothing.
func (l *lastPolls) get(id intent.ID) *lastPoll {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.of[id]; ok {
		return e.Value.(*lastPoll)
	}
	return nil
}

// remember notes what a poll of in, which began at a moment, brought.
func (e *Engine) remember(in *intent.Intent, began moment, q said) {
	p := &lastPoll{
		id: in.ID, at: e.clock(began), code: q.code, outcome: q.reading.Outcome, reason: q.reading.Reason,
		memory: in.Memory,
	}
	switch {
	case q.err != nil:
		p.err = q.err.Error()
	case q.answer == nil:
		p.code, p.shared = q.shared, true
	default:
		p.answer, p.whole = keepable(*q.answer)
	}
	e.lastPolls.note(p)
}

// keepable is the part of an answer that is worth its memory, and whether that is all
// of it. It shares what it can.
func keepable(a adapter.Answer) (_ *adapter.Answer, whole bool) {
	whole = !a.Cut
	if len(a.Body) > maxLastBody {
		a.Body, whole = bytes.Clone(a.Body[:maxLastBody/4]), false
	}
	if cap(a.Body) > len(a.Body)+len(a.Body)/4 {
		a.Body = bytes.Clone(a.Body)
	}
	if HeadSize(a.Header) > maxLastHead {
		a.Header, whole = nil, false
	}
	return &a, whole
}

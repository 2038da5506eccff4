package webhook

import (
	"net/url"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// Bounds of what is under way and of what waits in memory: one receiver that hangs must
// not keep the others waiting, nor fill the memory.
const (
	maxSending      = 64
	maxSendingToOne = 8
	maxWaiting      = 1024
	maxWaitingToOne = 128
)

// How long a try takes, for what must wait in the store until its host has room.
const (
	guessedPace = 200 * time.Millisecond // before there was one
	leastPace   = 40 * time.Millisecond
	maxPutBack  = 5 * time.Minute // after which the host may be faster than it was
)

// A host that has not answered holdAfter tries in a row gets one try at a time, with
// pauses in between.
const (
	holdAfter = 5
	firstHold = 5 * time.Second
	maxHold   = 5 * time.Minute
)

// A parcel is a message that was collected.
type parcel struct {
	message store.Message
	target  Target
	host    string
	lease   time.Time // nobody else collects it before
}

// A host is what the sender knows of the receivers at one host and port.
type host struct {
	sending int
	waiting []parcel
	pace    time.Duration // of its last tries
	booked  time.Time     // when all that was put back has had its turn
	silent  int           // tries in a row that got no answer
	holds   int           // since there was an answer
	held    time.Time     // no try before
	failure string        // of the last try
}

// A verdict is what becomes of a collected message.
type verdict int

const (
	sendIt   verdict = iota
	waitFor          // in memory, until next returns it
	putBack          // its host has enough of them
	heldBack         // its host does not answer
)

// hosts share out the tries. Those that are known are bounded by the config: it names
// the hosts of webhooks, or those that submits may name.
type hosts struct {
	mu      sync.Mutex
	known   map[string]*host
	sending int
	waiting int
}

// admit says what becomes of a message: until when, if it is not tried or kept waiting
// here, and why, if that counts as a try.
func (hs *hosts) admit(p parcel, now time.Time) (v verdict, until time.Time, why string) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.known[p.host]
	if h == nil {
		h = &host{pace: guessedPace}
		hs.known[p.host] = h
	}
	switch {
	case h.holdsBack(now):
		return heldBack, h.held, h.failure
	case hs.sending < maxSending && h.sending < maxSendingToOne:
		h.sending++
		hs.sending++
		return sendIt, until, ""
	case hs.waiting < maxWaiting && len(h.waiting) < maxWaitingToOne:
		h.waiting = append(h.waiting, p)
		hs.waiting++
		return waitFor, until, ""
	}
	return putBack, h.book(now), ""
}

// holdsBack reports whether there must be no try now.
func (h *host) holdsBack(now time.Time) bool {
	return now.Before(h.held) || h.silent >= holdAfter && h.sending > 0
}

// book returns when a message has its turn that must wait behind all others.
func (h *host) book(now time.Time) time.Time {
	each := h.pace / maxSendingToOne
	if first := now.Add(time.Duration(len(h.waiting)) * each); h.booked.Before(first) {
		h.booked = first
	}
	if last := now.Add(maxPutBack); h.booked.After(last) {
		h.booked = last
	}
	h.booked = h.booked.Add(each)
	return h.booked
}

// done notes what came of a try that admit or next allowed, and returns what waited and
// is now held back: until when, and why.
func (hs *hosts) done(name string, a attempt, took time.Duration, now time.Time) (held []parcel, until time.Time, why string) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.known[name]
	h.sending--
	hs.sending--
	h.pace = max((3*h.pace+took)/4, leastPace)
	if a.answered {
		if h.silent >= holdAfter { // what was booked was so at the pace of silence
			h.pace, h.booked = guessedPace, time.Time{}
		}
		h.silent, h.holds, h.held = 0, 0, time.Time{}
	} else {
		h.fail(a.failure, now)
	}
	if now.Before(h.held) {
		held, h.waiting = h.waiting, nil
		hs.waiting -= len(held)
		until, why = h.held, h.failure
	}
	hs.forget(name, h, now)
	return held, until, why
}

// fail notes a try that got no answer.
func (h *host) fail(why string, now time.Time) {
	h.failure = why
	h.silent++
	if h.silent < holdAfter || now.Before(h.held) { // tries that began together end together
		return
	}
	h.held = now.Add(min(firstHold<<min(h.holds, 10), maxHold))
	h.holds++
}

// stopped notes that a try was cut off by us, which says nothing about the host.
func (hs *hosts) stopped(name string, now time.Time) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.known[name]
	h.sending--
	hs.sending--
	hs.forget(name, h, now)
}

// behind reports whether messages were put back whose turn is still to come.
func (hs *hosts) behind(now time.Time) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.known {
		if h.booked.After(now) {
			return true
		}
	}
	return false
}

// forget forgets a host of which nothing needs to be known. The caller holds the mutex.
func (hs *hosts) forget(name string, h *host, now time.Time) {
	if h.sending == 0 && len(h.waiting) == 0 && h.silent == 0 && !h.booked.After(now) {
		delete(hs.known, name)
	}
}

// next returns a message that has waited for its turn, of the host with the fewest tries
// under way.
func (hs *hosts) next(now time.Time) (parcel, bool) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for hs.sending < maxSending {
		var h *host
		for _, other := range hs.known {
			if len(other.waiting) > 0 && other.sending < maxSendingToOne && !other.holdsBack(now) && (h == nil || other.sending < h.sending) {
				h = other
			}
		}
		if h == nil {
			break
		}
		p := h.waiting[0]
		h.waiting = h.waiting[1:]
		hs.waiting--
		if p.lease.Before(now.Add(sendTimeout)) {
			continue // it is due again by itself, in the store
		}
		h.sending++
		hs.sending++
		return p, true
	}
	return parcel{}, false
}

// empty returns all that waits.
func (hs *hosts) empty() (all []parcel) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.known {
		all = append(all, h.waiting...)
		h.waiting = nil
	}
	hs.waiting = 0
	return all
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

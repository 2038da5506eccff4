package audit

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Terms are what was configured and cannot be seen from a ledger.
type Terms struct {
	Interval time.Duration // of polls: the shortest that was in force
	Slack    time.Duration // after its deadline an intent has ended
}

// A book is the ledgers, ordered by what the invariants ask for.
type book struct {
	terms  Terms
	end    time.Time // of the last entry
	wishes map[string]Wish
	told   []Told
	reads  []Read
	stored map[string]*Stored
	byJob  map[string][]*Stored
	jobs   map[string]Job
	unkept map[string]bool    // clients that were told that their key is not kept
	posts  map[string][]Entry // by client: submits on which the backend may have acted
	perJob map[string][]Entry // polls and cancels of each job, in time
	seen   map[string][]Seen  // by observer
	lives  []time.Time        // when a process began or ended
}

func bind(entries []Entry, terms Terms) *book {
	b := &book{
		terms: terms, wishes: make(map[string]Wish), stored: make(map[string]*Stored), byJob: make(map[string][]*Stored),
		jobs: make(map[string]Job), posts: make(map[string][]Entry), perJob: make(map[string][]Entry),
		seen: make(map[string][]Seen), unkept: make(map[string]bool),
	}
	for _, e := range entries {
		if e.At.After(b.end) {
			b.end = e.At
		}
		b.enter(e)
	}
	for client, posts := range b.posts {
		b.posts[client] = slices.DeleteFunc(posts, func(p Entry) bool { return p.Asked.declined(b.wishes[client]) })
		if len(b.posts[client]) == 0 {
			delete(b.posts, client)
		}
	}
	inTime := func(x, y Entry) int { return x.At.Compare(y.At) }
	for _, asked := range b.perJob {
		slices.SortStableFunc(asked, inTime)
	}
	return b
}

func (b *book) enter(e Entry) {
	switch {
	case e.Wish != nil:
		w := *e.Wish
		w.Again = w.Again || b.wishes[w.Client].Again
		b.wishes[w.Client] = w
	case e.Told != nil:
		b.told = append(b.told, *e.Told)
		b.unkept[e.Told.Client] = b.unkept[e.Told.Client] || e.Told.Unkept
	case e.Read != nil:
		b.reads = append(b.reads, *e.Read)
	case e.Seen != nil:
		b.seen[e.Seen.Observer] = append(b.seen[e.Seen.Observer], *e.Seen)
	case e.Asked != nil && e.Asked.Kind == Submits:
		b.posts[e.Asked.Client] = append(b.posts[e.Asked.Client], e)
	case e.Asked != nil:
		b.perJob[e.Asked.Job] = append(b.perJob[e.Asked.Job], e)
	case e.Job != nil:
		b.jobs[e.Job.ID] = *e.Job
	case e.Stored != nil:
		b.stored[e.Stored.Intent.ID.String()] = e.Stored
		if id := e.Stored.Intent.JobID; id != "" {
			b.byJob[id] = append(b.byJob[id], e.Stored)
		}
	case e.Life != "":
		b.lives = append(b.lives, e.At)
	}
}

// declined reports whether the backend said that it did not act, so that the submit
// may be repeated. For one that is queued it is we who would repeat it, and an error of
// the server says nothing of the kind.
func (a *Asked) declined(w Wish) bool {
	switch {
	case a.Code == 0:
		return false
	case a.Code >= 300 && !w.Queued: // its client was told so, and decides
		return true
	case a.Job != "":
		return false
	case a.Code == http.StatusRequestTimeout, a.Code == http.StatusTooEarly, a.Code == http.StatusTooManyRequests, a.Code == http.StatusServiceUnavailable:
		return true
	}
	return !w.Queued
}

// lived reports whether no process began or ended between two moments.
func (b *book) lived(from, to time.Time) bool {
	return !slices.ContainsFunc(b.lives, func(at time.Time) bool { return !at.Before(from) && !at.After(to) })
}

// statuses lists what the events of an intent are, for a fault to quote.
func statuses(events []intent.Event) string {
	var words []string
	for _, e := range events {
		words = append(words, strings.TrimPrefix(string(e.Type), "intent."))
	}
	return strings.Join(words, " ")
}

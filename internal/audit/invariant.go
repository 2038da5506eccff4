package audit

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// An Invariant is one thing that is true whatever fails.
type Invariant struct {
	Name  string
	check func(b *book, fault func(format string, args ...any))
}

// Invariants are all that are checked.
var Invariants = []Invariant{
	{"nothing that was acknowledged is lost", kept},
	{"the backend gets a submit once, and one that was refused never", once},
	{"seq counts from 1 without a gap", gapless},
	{"statuses follow each other as they may, and one end is the last", legal},
	{"an end is the backend's word, or ours for a reason", truthful},
	{"every observer sees exactly what is stored after its cursor", observed},
	{"every intent ends by its deadline", ended},
	{"no poll comes sooner than configured, or than the backend wants", paced},
	{"what was read once never changes", steadfast},
	{"a job has one intent, and a client one answer", single},
}

// A Violation says which invariant did not hold, and where.
type Violation struct{ Invariant, What string }

func (v Violation) String() string { return v.Invariant + ": " + v.What }

// Audit checks every invariant.
func Audit(entries []Entry, terms Terms) []Violation {
	b := bind(entries, terms)
	var found []Violation
	for _, i := range Invariants {
		i.check(b, func(format string, args ...any) {
			found = append(found, Violation{i.Name, fmt.Sprintf(format, args...)})
		})
	}
	return found
}

func kept(b *book, fault func(string, ...any)) {
	for _, t := range b.told {
		if t.Intent == "" || t.Word == Unknown {
			continue
		}
		s := b.stored[t.Intent]
		if s == nil {
			fault("%s was told %s of %s, which is not stored", t.Client, t.Word, t.Intent)
			continue
		}
		job, known := b.jobs[s.Intent.JobID]
		switch {
		case s.Intent.JobID == "":
		case !known:
			fault("%s of %s is about job %q, which nobody made", t.Intent, t.Client, s.Intent.JobID)
		case job.Client != t.Client:
			fault("%s of %s is about job %s of %s", t.Intent, t.Client, job.ID, job.Client)
		}
	}
}

func once(b *book, fault func(string, ...any)) {
	for _, t := range b.told {
		if t.Word == Unsent && slices.ContainsFunc(b.posts[t.Client], func(p Entry) bool { return p.Asked.Job != "" }) {
			fault("%s was told %s, and has a job", t.Client, t.Word)
		}
	}
	for client, posts := range b.posts {
		if len(posts) > 1 && !b.wishes[client].Again && !b.unkept[client] {
			fault("%s was sent %d times", client, len(posts))
		}
		for _, p := range posts[1:] {
			if k := posts[0].Asked.Key; p.Asked.Key != k || k == "" {
				fault("%s was sent again under key %q instead of %q", client, p.Asked.Key, k)
			}
		}
	}
	b.refusals(fault)
}

// refusals: who was refused every time it asked, and nothing else, was not sent.
func (b *book) refusals(fault func(string, ...any)) {
	only := make(map[string]bool)
	for _, t := range b.told {
		before, asked := only[t.Client]
		only[t.Client] = t.Word == Refused && (before || !asked)
	}
	for client, refused := range only {
		if n := len(b.posts[client]); refused && n > 0 {
			fault("%s was told %s and sent %d times", client, Refused, n)
		}
	}
}

func gapless(b *book, fault func(string, ...any)) {
	for id, s := range b.stored {
		for i, e := range s.Events {
			if e.Seq != int64(i+1) {
				fault("%s has event %d at place %d", id, e.Seq, i+1)
			}
		}
		if s.Intent.Seq != int64(len(s.Events)) {
			fault("%s is at event %d and has %d", id, s.Intent.Seq, len(s.Events))
		}
	}
}

func legal(b *book, fault func(string, ...any)) {
	for id, s := range b.stored {
		status := intent.Status("")
		for _, e := range s.Events {
			if !status.Precedes(e.Status) {
				fault("%s went from %q to %s: %s", id, status, e.Status, statuses(s.Events))
			}
			status = e.Status
		}
		if s.Intent.Status != status {
			fault("%s is %s and its last event %s", id, s.Intent.Status, status)
		}
	}
}

func ended(b *book, fault func(string, ...any)) {
	for id, s := range b.stored {
		in := s.Intent
		switch {
		case in.Status.Terminal():
			// Before its first event it was no intent: its submit was under way.
			due := in.Deadline
			if len(s.Events) > 0 && s.Events[0].At.After(due) {
				due = s.Events[0].At
			}
			if late := in.Updated.Sub(due); late > b.terms.Slack {
				fault("%s ended %s after its deadline", id, late)
			}
		case b.end.After(in.Deadline.Add(b.terms.Slack)):
			fault("%s is %s, %s after its deadline: %s", id, in.Status, b.end.Sub(in.Deadline), statuses(s.Events))
		}
	}
}

func steadfast(b *book, fault func(string, ...any)) {
	for _, r := range b.reads {
		s := b.stored[r.Intent]
		switch {
		case s == nil:
			fault("%s was read at event %d and is not stored", r.Intent, r.Seq)
		case r.Seq < 1 || r.Seq > int64(len(s.Events)):
			fault("%s was read at event %d and has %d", r.Intent, r.Seq, len(s.Events))
		case s.Events[r.Seq-1].Status != r.Status:
			fault("%s was read as %s at event %d, which is %s", r.Intent, r.Status, r.Seq, s.Events[r.Seq-1].Status)
		}
	}
}

// single: repeats of a submit get the intent of the first.
func single(b *book, fault func(string, ...any)) {
	for job, all := range b.byJob {
		if len(all) > 1 {
			fault("job %s has %d intents", job, len(all))
		}
	}
	first := make(map[string]string)
	for _, t := range b.told {
		if t.Word != Accepted {
			continue
		}
		if before, ok := first[t.Client]; ok && before != t.Intent && !b.unkept[t.Client] {
			fault("%s was told %s and then %s", t.Client, before, t.Intent)
		}
		first[t.Client] = t.Intent
	}
	whose := make(map[string]string)
	for client, id := range first {
		if other, ok := whose[id]; ok {
			fault("%s was told to %s and %s", id, client, other)
		}
		whose[id] = client
	}
}

func observed(b *book, fault func(string, ...any)) {
	for observer, all := range b.seen {
		s := b.stored[all[0].Intent]
		if s == nil {
			fault("%s saw %s, which is not stored", observer, all[0].Intent)
			continue
		}
		after := all[0].After
		for _, seen := range all {
			switch {
			case seen.Damage != "":
				fault("%s of %s received %s", observer, seen.Intent, seen.Damage)
				return
			case seen.Event == nil:
				if after != int64(len(s.Events)) || !s.Intent.Status.Terminal() {
					fault("%s of %s was told at event %d of %d that there is no more", observer, seen.Intent, after, len(s.Events))
				}
				continue
			}
			if seen.Event.Seq != after+1 {
				fault("%s of %s saw event %d after %d", observer, seen.Intent, seen.Event.Seq, after)
				break
			}
			after = seen.Event.Seq
			if after > int64(len(s.Events)) || asJSON(*seen.Event) != asJSON(s.Events[after-1]) {
				fault("%s saw another event %d than %s has stored: %s", observer, after, seen.Intent, asJSON(*seen.Event))
			}
		}
	}
}

func asJSON(e intent.Event) string {
	e.At = e.At.UTC()
	text, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// The backend's wish is kept within these bounds.
const (
	leastAfter = 100 * time.Millisecond
	mostAfter  = 5 * time.Minute
)

func paced(b *book, fault func(string, ...any)) {
	for job, asked := range b.perJob {
		var last Entry
		for _, e := range asked {
			if e.Asked.Kind != Polls { // what follows asks how it ended, at once
				last = Entry{}
				continue
			}
			if last.Asked != nil && b.lived(last.At, e.At) && !b.final(job, e.At) {
				if gap := e.At.Sub(last.At); gap < b.terms.Interval {
					fault("%s was asked for again after %s", job, gap)
				}
				if wish := last.Asked.After; wish > 0 {
					wish = min(max(wish, leastAfter), mostAfter)
					if gap := e.At.Sub(last.Asked.Answered); gap < wish {
						fault("%s was asked for again after %s instead of %s", job, gap, wish)
					}
				}
			}
			last = e
		}
	}
}

// final reports whether a poll is the one at the deadline of the job's intent, which
// no pace keeps waiting.
func (b *book) final(job string, at time.Time) bool {
	for _, s := range b.byJob[job] {
		if !at.Before(s.Intent.Deadline) {
			return true
		}
	}
	return false
}

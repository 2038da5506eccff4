package audit_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
)

var terms = audit.Terms{Interval: time.Second, Slack: time.Minute}

// A trial is the ledger of one submit that went well: client c is told of an intent,
// observer o sees it, and its job j completes at the third poll.
type trial struct {
	at      time.Time
	in      intent.Intent
	events  []intent.Event
	entries []audit.Entry
}

func newTrial() *trial {
	tr := &trial{at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	in := intent.Intent{ID: intent.NewID(tr.at, 0), Origin: intent.Origin{Scope: "default", Job: "report", Created: tr.at, Deadline: tr.at.Add(time.Hour)}}
	in, events := in.Begin(tr.at)
	in, more := in.Deliver(intent.Delivery{JobID: "j", StatusURL: "/status/j"}, tr.at)
	events = append(events, more...)
	tr.write(audit.Entry{Wish: &audit.Wish{Client: "c", Key: "k"}})
	tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Submits, Client: "c", Key: "k", Job: "j", Code: 202}})
	tr.write(audit.Entry{Told: &audit.Told{Client: "c", Word: audit.Accepted, Intent: in.ID.String(), Code: 202}})
	for _, status := range []intent.Status{intent.InProgress, intent.InProgress, intent.Completed} {
		tr.at = tr.at.Add(2 * time.Second)
		tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Polls, Job: "j", Code: 200, Answered: tr.at, After: time.Second}})
		in, more = in.Apply(intent.Reading{Status: status, Message: tr.at.String()}, tr.at)
		events = append(events, more...)
	}
	tr.in, tr.events = in, events
	for i := range events {
		tr.write(audit.Entry{Seen: &audit.Seen{Observer: "o", Intent: in.ID.String(), Event: &events[i]}})
	}
	tr.write(audit.Entry{Seen: &audit.Seen{Observer: "o", Intent: in.ID.String()}})
	tr.write(audit.Entry{Read: &audit.Read{Intent: in.ID.String(), Seq: 3, Status: intent.Delivered}})
	tr.write(audit.Entry{Job: &audit.Job{ID: "j", Client: "c", Said: intent.Completed}})
	return tr
}

func (tr *trial) write(e audit.Entry) {
	e.At = tr.at
	tr.entries = append(tr.entries, e)
}

// all is the ledger with what the store holds.
func (tr *trial) all() []audit.Entry {
	return append(slices.Clone(tr.entries), audit.Entry{At: tr.at, Stored: &audit.Stored{Intent: tr.in, Events: tr.events}})
}

func TestATrialThatWentWellBreaksNothing(t *testing.T) {
	require.Empty(t, audit.Audit(newTrial().all(), terms))
}

// An auditor that cannot find anything is worth nothing.
func TestEachBrokenPromiseIsFound(t *testing.T) {
	cases := map[string]struct {
		spoil func(tr *trial)
		want  int // of the invariants
	}{
		"an intent that is not stored": {func(tr *trial) {
			tr.write(audit.Entry{Told: &audit.Told{Client: "d", Word: audit.Accepted, Intent: "gone"}})
		}, 0},
		"another client's job":   {func(tr *trial) { tr.write(audit.Entry{Job: &audit.Job{ID: "j", Client: "d", Said: intent.Completed}}) }, 0},
		"a job that nobody made": {func(tr *trial) { tr.in.JobID = "k" }, 0},
		"a second POST": {func(tr *trial) {
			tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Submits, Client: "c", Key: "k", Job: "j2", Code: 202}})
		}, 1},
		"a second POST without an answer": {func(tr *trial) {
			tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Submits, Client: "c", Key: "k"}})
		}, 1},
		"a second POST under another key": {func(tr *trial) {
			tr.write(audit.Entry{Wish: &audit.Wish{Client: "c", Key: "k", Again: true}})
			tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Submits, Client: "c", Key: "k2"}})
		}, 1},
		"a POST of one who was refused": {func(tr *trial) {
			tr.write(audit.Entry{Told: &audit.Told{Client: "d", Word: audit.Refused}})
			tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Submits, Client: "d"}})
		}, 1},
		"a gap": {func(tr *trial) { tr.events = slices.Delete(slices.Clone(tr.events), 3, 4) }, 2},
		"an event after the end": {func(tr *trial) {
			e := tr.events[len(tr.events)-1]
			e.Seq++
			tr.events, tr.in.Seq = append(tr.events, e), e.Seq
		}, 3},
		"an end that is not in the log": {func(tr *trial) { tr.in.Status = intent.Failed }, 3},
		"an end that the backend did not tell": {func(tr *trial) {
			tr.write(audit.Entry{Job: &audit.Job{ID: "j", Client: "c", Said: intent.Failed}})
		}, 4},
		"a cancel that was none": {func(tr *trial) {
			tr.write(audit.Entry{Told: &audit.Told{Client: "c", Word: audit.Canceled, Intent: tr.in.ID.String()}})
		}, 4},
		"an observer that missed an event": {func(tr *trial) {
			tr.write(audit.Entry{Seen: &audit.Seen{Observer: "p", Intent: tr.in.ID.String(), After: 1, Event: &tr.events[2]}})
		}, 5},
		"an observer that saw another event": {func(tr *trial) {
			e := tr.events[0]
			e.Details.Message = "another"
			tr.write(audit.Entry{Seen: &audit.Seen{Observer: "p", Intent: tr.in.ID.String(), Event: &e}})
		}, 5},
		"an observer that saw an event twice": {func(tr *trial) {
			for range 2 {
				tr.write(audit.Entry{Seen: &audit.Seen{Observer: "p", Intent: tr.in.ID.String(), Event: &tr.events[0]}})
			}
		}, 5},
		"an observer that was sent away early": {func(tr *trial) {
			tr.write(audit.Entry{Seen: &audit.Seen{Observer: "p", Intent: tr.in.ID.String(), After: 2}})
		}, 5},
		"an observer that got something else": {func(tr *trial) {
			tr.write(audit.Entry{Seen: &audit.Seen{Observer: "p", Intent: tr.in.ID.String(), Damage: "half a frame"}})
		}, 5},
		"an intent that does not end": {func(tr *trial) {
			tr.events = tr.events[:3]
			tr.in.Status, tr.in.Seq = intent.Delivered, 3
			tr.at = tr.in.Deadline.Add(2 * time.Minute)
		}, 6},
		"an end long after the deadline": {func(tr *trial) { tr.in.Updated = tr.in.Deadline.Add(2 * time.Minute) }, 6},
		"a poll too soon": {func(tr *trial) {
			tr.at = tr.at.Add(900 * time.Millisecond)
			tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Polls, Job: "j", Answered: tr.at}})
		}, 7},
		"a poll before the backend wants one": {func(tr *trial) {
			tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Polls, Job: "j2", Answered: tr.at, After: 10 * time.Second}})
			tr.at = tr.at.Add(9 * time.Second)
			tr.write(audit.Entry{Asked: &audit.Asked{Kind: audit.Polls, Job: "j2", Answered: tr.at}})
		}, 7},
		"a status that was told and is not so": {func(tr *trial) {
			tr.write(audit.Entry{Read: &audit.Read{Intent: tr.in.ID.String(), Seq: 3, Status: intent.Failed}})
		}, 8},
		"an event that was told and is gone": {func(tr *trial) {
			tr.write(audit.Entry{Read: &audit.Read{Intent: tr.in.ID.String(), Seq: 99, Status: intent.Completed}})
		}, 8},
		"two intents of one job": {func(tr *trial) {
			other := tr.in
			other.ID = intent.NewID(tr.at, 0)
			tr.write(audit.Entry{Stored: &audit.Stored{Intent: other, Events: tr.events}})
		}, 9},
	}
	broken := make(map[int]bool)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tr := newTrial()
			c.spoil(tr)
			var found []string
			for _, v := range audit.Audit(tr.all(), terms) {
				found = append(found, v.Invariant)
			}
			require.Contains(t, found, audit.Invariants[c.want].Name)
		})
		broken[c.want] = true
	}
	require.Len(t, broken, len(audit.Invariants), "every invariant is broken once")
}

func TestALedgerIsReadAgainWithoutALineThatWasCutOff(t *testing.T) {
	var file bytes.Buffer
	l := audit.NewLedger(&file)
	tr := newTrial()
	for _, e := range tr.all() {
		l.Write(e)
	}
	require.NoError(t, l.Err())
	read, err := audit.ReadLedger(bytes.NewReader(file.Bytes()[:file.Len()-3]))
	require.NoError(t, err)
	require.Len(t, read, len(tr.all())-1)
	read, err = audit.ReadLedger(&file)
	require.NoError(t, err)
	require.Empty(t, audit.Audit(read, terms))
	_, err = audit.ReadLedger(bytes.NewReader([]byte("{}\nnot a line\n")))
	require.ErrorContains(t, err, "line 2")
}

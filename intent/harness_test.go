package intent_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// maxFrame bounds one event on the wire, head and all.
const maxFrame = 32 << 10

// start is an arbitrary time; nothing in the package has a clock of its own.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A life is one intent with all its events so far and the time it is there.
type life struct {
	t      testing.TB
	in     intent.Intent
	events []intent.Event
	now    time.Time
}

// reserved is an intent before its first event.
func reserved(t testing.TB, deadline time.Duration) *life {
	return &life{t: t, now: start, in: intent.Intent{
		ID:     intent.NewID(start, 0),
		Origin: intent.Origin{Scope: "default", Job: "report", Created: start, Deadline: start.Add(deadline)},
	}}
}

func submitted(t testing.TB, deadline time.Duration) *life {
	l := reserved(t, deadline)
	l.happens(l.in.Begin(l.now))
	return l
}

func delivered(t testing.TB, deadline time.Duration) *life {
	l := submitted(t, deadline)
	l.happens(l.in.Deliver(intent.Delivery{JobID: "4711", StatusURL: "/reports/status/4711"}, l.now))
	return l
}

func running(t testing.TB, deadline time.Duration) *life {
	l := delivered(t, deadline)
	l.reads(intent.Reading{Status: intent.InProgress})
	return l
}

// at brings a life to a status by the shortest way.
func at(t testing.TB, s intent.Status) *life {
	switch s {
	case "":
		return reserved(t, day)
	case intent.Created:
		l := reserved(t, day)
		l.in.Status, l.in.Seq = intent.Created, 1 // Begin does not stop here
		return l
	case intent.Submitted:
		return submitted(t, day)
	case intent.Delivered:
		return delivered(t, day)
	case intent.InProgress:
		return running(t, day)
	}
	l := running(t, day)
	l.reads(intent.Reading{Status: s})
	require.Equal(t, s, l.in.Status)
	return l
}

const day = 24 * time.Hour

func (l *life) happens(in intent.Intent, events []intent.Event) []intent.Event {
	l.in = in
	l.events = append(l.events, events...)
	return events
}

func (l *life) after(d time.Duration) *life {
	l.now = l.now.Add(d)
	return l
}

func (l *life) reads(r intent.Reading) []intent.Event { return l.happens(l.in.Apply(r, l.now)) }
func (l *life) waits(why string) []intent.Event       { return l.happens(l.in.Wait(why, l.now)) }
func (l *life) ends(s intent.Status, why *intent.Error) []intent.Event {
	return l.happens(l.in.End(s, intent.Details{Error: why}, l.now))
}

// last is the newest event.
func (l *life) last() intent.Event {
	require.NotEmpty(l.t, l.events)
	return l.events[len(l.events)-1]
}

// wantTypes compares the events so far with the short names of their types.
func (l *life) wantTypes(want ...string) {
	l.t.Helper()
	var got []string
	for _, e := range l.events {
		got = append(got, string(e.Type))
	}
	for i := range want {
		want[i] = "intent." + want[i]
	}
	require.Equal(l.t, want, got)
}

// wantLawful holds all events so far against what every log promises.
func (l *life) wantLawful() {
	l.t.Helper()
	require.LessOrEqual(l.t, len(l.events), intent.MaxEvents)
	var before intent.Event
	progress := -1.0
	for i, e := range l.events {
		require.Equal(l.t, int64(i+1), e.Seq, "seq has a gap")
		require.True(l.t, before.Status.Precedes(e.Status), "%q cannot follow %q", e.Status, before.Status)
		require.False(l.t, e.At.Before(before.At), "event %d is older than the one before", e.Seq)
		require.Equal(l.t, l.in.ID, e.IntentID)
		if e.Details.Progress != nil {
			require.GreaterOrEqual(l.t, *e.Details.Progress, progress, "progress fell")
			progress = *e.Details.Progress
		}
		frame, err := json.Marshal(e)
		require.NoError(l.t, err)
		require.Less(l.t, len(frame), maxFrame-256, "event %d does not fit a frame", e.Seq)
		before = e
	}
	require.Equal(l.t, before.Status, l.in.Status)
	require.Equal(l.t, before.Seq, l.in.Seq)
}

func progress(percent float64) intent.Reading {
	return intent.Reading{Status: intent.InProgress, Progress: &percent}
}

func saying(message string) intent.Reading {
	return intent.Reading{Status: intent.InProgress, Message: message}
}

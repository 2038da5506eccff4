package store

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Picks reports whether the filter lets an intent through. Before and Limit are
// about the place in the list and are not looked at.
func (f *Filter) Picks(in *intent.Intent) bool {
	return cmp.Or(f.Scope, in.Scope) == in.Scope &&
		(len(f.Owners) == 0 || slices.Contains(f.Owners, in.Owner)) &&
		cmp.Or(f.Job, in.Job) == in.Job &&
		cmp.Or(f.Status, in.Status) == in.Status &&
		!(f.OnlyRunning() && in.Status.Terminal()) &&
		(f.Made.IsZero() || in.Created.Before(f.Made)) &&
		(f.Moved.IsZero() || movedAt(in).Before(f.Moved)) &&
		picks(f.Waiting, in.Waiting) && picks(f.Unknown, in.UnknownState)
}

func picks(wanted, is string) bool {
	return wanted == "" || wanted == is || wanted == Any && is != ""
}

// movedAt is when the job last did something: at the latest when it was made.
func movedAt(in *intent.Intent) time.Time {
	if in.Moved.IsZero() {
		return in.Created
	}
	return in.Moved
}

// OnlyRunning reports whether no ended intent is picked, and OnlyEnded whether no
// other is: a store need not look at those then.
func (f *Filter) OnlyRunning() bool {
	return f.Running || !f.Moved.IsZero() || f.Status != "" && !f.Status.Terminal()
}

func (f *Filter) OnlyEnded() bool { return f.Status.Terminal() }

// Start is where to look: only intents before this one in the order of ids can be
// picked. Zero for all.
func (f *Filter) Start() intent.ID {
	if f.Made.IsZero() {
		return f.Before
	}
	made := intent.LeastID(f.Made.Add(time.Second))
	if f.Before == (intent.ID{}) || bytes.Compare(made[:], f.Before[:]) < 0 {
		return made
	}
	return f.Before
}

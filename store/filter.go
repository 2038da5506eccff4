package store

import (
	"cmp"
	"slices"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Picks reports whether the filter lets an intent through. Before and Limit are
// about the place in the list and are not looked at.
func (f *Filter) Picks(in *intent.Intent) bool {
	return cmp.Or(f.Scope, in.Scope) == in.Scope &&
		(len(f.Owners) == 0 || slices.Contains(f.Owners, in.Owner)) &&
		cmp.Or(f.Job, in.Job) == in.Job &&
		cmp.Or(f.Status, in.Status) == in.Status
}

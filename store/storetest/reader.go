package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var eventsTests = []test{
	{"they come after the cursor, in order, without a gap", func(t *tester) {
		held := t.create()
		for i := range 20 {
			held = t.report(held, float64(i+1))
		}
		in, all := t.get(held.ID)
		require.Len(t, all, 23)
		for after := range int64(len(all) + 1) {
			again, events, err := t.Events(t.Context(), held.ID, after)
			require.NoError(t, err)
			require.Equal(t, text(t, in), text(t, again))
			require.Len(t, events, len(all)-int(after))
			for i, event := range events {
				require.Equal(t, after+int64(i)+1, event.Seq)
				require.Equal(t, held.ID, event.IntentID)
			}
		}
	}},
	{"a cursor past the end or below zero is no error", func(t *tester) {
		held := t.create()
		_, events, err := t.Events(t.Context(), held.ID, 1000)
		require.NoError(t, err)
		require.Empty(t, events)
		_, events, err = t.Events(t.Context(), held.ID, -7)
		require.NoError(t, err)
		require.Len(t, events, 3)
	}},
	{"they are read after the end too", func(t *tester) {
		in := t.end(t.report(t.create(), 1))
		got, events := t.get(in.ID)
		require.Equal(t, text(t, in), text(t, got))
		require.True(t, events[len(events)-1].Status.Terminal())
	}},
	{"those of neighbours are not among them", func(t *tester) {
		for range 5 {
			held := t.create()
			_, events := t.get(held.ID)
			require.Len(t, events, 3)
		}
	}},
	{"of an unknown intent there are none", func(t *tester) {
		t.create()
		t.absent(t.request().ID)
		t.absent(intent.ID{})
	}},
}

var listTests = []test{
	{"the youngest comes first, running or ended", func(t *tester) {
		var want []intent.ID
		for i := range 6 {
			held := t.create()
			if i%2 == 0 {
				t.end(t.report(held, 1))
			}
			want = append(want, held.ID)
		}
		t.reserve()
		slices.Reverse(want)
		page, err := t.List(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Equal(t, want, idsOf(page.Intents))
		require.Zero(t, page.Next)
		whole, _ := t.get(want[0])
		require.Equal(t, text(t, whole), text(t, page.Intents[0]))
	}},
	{"pages join without a gap or a repeat", func(t *tester) {
		for i := range 10 {
			held := t.create()
			if i%3 == 0 {
				t.end(t.report(held, 1))
			}
		}
		all, err := t.List(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Len(t, all.Intents, 10)
		for limit := 1; limit <= 11; limit++ {
			require.Equal(t, idsOf(all.Intents), t.pages(store.Filter{Limit: limit}), "limit %d", limit)
		}
	}},
	{"a page that ends with the list says so", func(t *tester) {
		for range 4 {
			t.create()
		}
		page, err := t.List(t.Context(), store.Filter{Limit: 4})
		require.NoError(t, err)
		require.Zero(t, page.Next)
	}},
	{"filters pick", func(t *tester) {
		add := func(scope, job string, over bool) intent.ID {
			in := t.request()
			in.Scope, in.Job = scope, job
			in, events := delivered(in, fmt.Sprintf("/%d", t.made))
			held, err := t.Create(t.Context(), in, events)
			require.NoError(t, err)
			if over {
				t.end(t.report(held, 1))
			}
			return held.ID
		}
		a := add("one", "report", false)
		b := add("one", "render", true)
		c := add("two", "report", true)
		for _, pick := range []struct {
			filter store.Filter
			want   []intent.ID
		}{
			{store.Filter{Scope: "one"}, []intent.ID{b, a}},
			{store.Filter{Job: "report"}, []intent.ID{c, a}},
			{store.Filter{Status: intent.Completed}, []intent.ID{c, b}},
			{store.Filter{Status: intent.Delivered}, []intent.ID{a}},
			{store.Filter{Scope: "one", Status: intent.Completed}, []intent.ID{b}},
			{store.Filter{Scope: "three"}, nil},
		} {
			require.Equal(t, pick.want, t.pages(pick.filter), "%+v", pick.filter)
			pick.filter.Limit = 1
			require.Equal(t, pick.want, t.pages(pick.filter), "%+v", pick.filter)
		}
	}},
	{"filters pick by age, by what stands still and by what is the matter", func(t *tester) {
		create := func(do func(in intent.Intent, events []intent.Event) (intent.Intent, []intent.Event)) intent.ID {
			in, events := delivered(t.request(), fmt.Sprintf("/%d", t.made))
			in, more := do(in, events)
			_, err := t.Create(t.Context(), in, append(events, more...))
			require.NoError(t, err)
			return in.ID
		}
		says := func(word string) func(intent.Intent, []intent.Event) (intent.Intent, []intent.Event) {
			return func(in intent.Intent, _ []intent.Event) (intent.Intent, []intent.Event) {
				return in.Apply(intent.Reading{Status: intent.InProgress, UnknownState: word}, noon.Add(time.Minute))
			}
		}
		quiet := create(func(in intent.Intent, _ []intent.Event) (intent.Intent, []intent.Event) { return in, nil })
		archived := create(says("archived"))
		starred := create(says("*"))
		plain := create(says(""))
		waits := create(func(in intent.Intent, events []intent.Event) (intent.Intent, []intent.Event) {
			return in.Wait("backend", noon.Add(time.Minute))
		})
		over := create(func(in intent.Intent, events []intent.Event) (intent.Intent, []intent.Event) {
			return in.End(intent.Failed, intent.Details{}, noon.Add(time.Minute))
		})
		made := noon.Add(3 * time.Second) // when the third was
		for _, pick := range []struct {
			filter store.Filter
			want   []intent.ID
		}{
			{store.Filter{Running: true}, []intent.ID{waits, plain, starred, archived, quiet}},
			{store.Filter{Running: true, Status: intent.Failed}, nil},
			{store.Filter{Made: made}, []intent.ID{archived, quiet}},
			{store.Filter{Made: made.Add(1)}, []intent.ID{starred, archived, quiet}},
			{store.Filter{Made: noon.Add(-time.Hour)}, nil},
			{store.Filter{Made: noon.AddDate(200, 0, 0)}, []intent.ID{over, waits, plain, starred, archived, quiet}},
			{store.Filter{Moved: noon.Add(time.Minute)}, []intent.ID{waits, quiet}},
			{store.Filter{Moved: noon.Add(time.Hour)}, []intent.ID{waits, plain, starred, archived, quiet}},
			{store.Filter{Unknown: "archived"}, []intent.ID{archived}},
			{store.Filter{Unknown: store.Any}, []intent.ID{starred, archived}},
			{store.Filter{Waiting: "backend"}, []intent.ID{waits}},
			{store.Filter{Waiting: "backends"}, nil},
			{store.Filter{Waiting: store.Any}, []intent.ID{waits}},
		} {
			require.Equal(t, pick.want, t.pages(pick.filter), "%+v", pick.filter)
			pick.filter.Limit = 1
			require.Equal(t, pick.want, t.pages(pick.filter), "%+v", pick.filter)
		}
	}},
	{"filters take words as they are written, and what only looks like a field for none", func(t *tester) {
		create := func(job, word string, at time.Time, params map[string]string) intent.ID {
			in := t.request()
			in.Job = job
			in, events := in.Begin(in.Created)
			in, named := in.Deliver(intent.Delivery{JobID: `"job":"report"`, Params: params, StatusURL: fmt.Sprintf("/%d", t.made)}, in.Created)
			in, told := in.Apply(intent.Reading{Status: intent.InProgress, UnknownState: word, Message: `"unknown_state":"archived"`}, at)
			in.Result = json.RawMessage(`{"moved":"2000-01-01T00:00:00Z","unknown_state":"archived","waiting":"backend","status":"DELIVERED"}`)
			_, err := t.Create(t.Context(), in, slices.Concat(events, named, told))
			require.NoError(t, err)
			return in.ID
		}
		lately, word := noon.Add(time.Hour), "<a>&\"\\ é\u2028\x00\n"
		odd := create(word, word, lately, map[string]string{"moved": "2000-01-01T00:00:00Z", "status": "DELIVERED"})
		alike := create("report", "", lately, map[string]string{"unknown_state": "archived", "waiting": "backend"})
		late := create("report", "archive", lately, map[string]string{"moved": "2999-01-01T00:00:00Z"})
		still := create("report", "archived", noon, map[string]string{"moved": "2999-01-01T00:00:00Z", "x": `"moved":"2999`})
		for _, pick := range []struct {
			filter store.Filter
			want   []intent.ID
		}{
			{store.Filter{Unknown: word}, []intent.ID{odd}},
			{store.Filter{Job: word}, []intent.ID{odd}},
			{store.Filter{Job: "report"}, []intent.ID{still, late, alike}},
			{store.Filter{Unknown: store.Any}, []intent.ID{still, late, odd}},
			{store.Filter{Unknown: "archived"}, []intent.ID{still}},
			{store.Filter{Waiting: store.Any}, nil},
			{store.Filter{Status: intent.Delivered}, nil},
			{store.Filter{Moved: lately}, []intent.ID{still}},
			{store.Filter{Moved: lately.Add(1)}, []intent.ID{still, late, alike, odd}},
		} {
			require.Equal(t, pick.want, t.pages(pick.filter), "%+v", pick.filter)
		}
	}},
	{"an owner's intents are listed among those of others, from either of two names", func(t *tester) {
		add := func(owner string) store.Held {
			in := t.request()
			in.Owner = owner
			in, events := delivered(in, fmt.Sprintf("/%d", t.made))
			held, err := t.Create(t.Context(), in, events)
			require.NoError(t, err)
			return held
		}
		var alice, both []intent.ID
		for i := range 12 {
			held := add([]string{"alice", "bob", "", "alice-before"}[i%4])
			switch owner := held.Intent.Owner; owner {
			case "alice":
				alice, both = append(alice, held.ID), append(both, held.ID)
			case "alice-before":
				both = append(both, held.ID)
			}
			if i%3 == 0 {
				t.end(t.report(held, 1))
			}
		}
		slices.Reverse(alice)
		slices.Reverse(both)
		for limit := range 7 {
			require.Equal(t, alice, t.pages(store.Filter{Owners: []string{"alice"}, Limit: limit}))
			require.Equal(t, both, t.pages(store.Filter{Owners: []string{"alice", "alice-before"}, Limit: limit}))
			require.Equal(t, both, t.pages(store.Filter{Owners: []string{"alice-before", "alice"}, Limit: limit}))
			require.Empty(t, t.pages(store.Filter{Owners: []string{"alic"}, Limit: limit}))
			require.Empty(t, t.pages(store.Filter{Owners: []string{"alice"}, Scope: "other", Limit: limit}))
		}
		ended := t.pages(store.Filter{Owners: []string{"alice", "alice-before"}, Status: intent.Completed})
		require.Equal(t, []intent.ID{both[4], both[5]}, ended)
		require.Len(t, t.pages(store.Filter{}), 12)

		// What is removed, or never was an intent, is in no list.
		_, err := t.Purge(t.Context(), noon.Add(48*time.Hour), 100)
		require.NoError(t, err)
		in := t.request()
		in.Owner = "alice"
		reserved, err := t.Reserve(t.Context(), in)
		require.NoError(t, err)
		left := slices.DeleteFunc(slices.Clone(both), func(id intent.ID) bool { return slices.Contains(ended, id) })
		require.Equal(t, left, t.pages(store.Filter{Owners: []string{"alice", "alice-before"}}))
		require.NoError(t, t.Drop(t.Context(), in.ID, reserved.Epoch))
		require.Equal(t, left, t.pages(store.Filter{Owners: []string{"alice", "alice-before"}}))
	}},
	{"a page costs no more than looking at so many, and the next goes on there", func(t *tester) {
		var wg sync.WaitGroup
		requests := make(chan intent.Intent)
		for range 64 {
			wg.Go(func() {
				for in := range requests {
					in, events := in.Begin(in.Created)
					_, err := t.Create(t.Context(), in, events)
					if err != nil {
						t.Errorf("creating: %v", err)
					}
				}
			})
		}
		var rare []intent.ID
		for i := range store.MaxLooked + 100 {
			in := t.request()
			if i == 7 {
				in.Job, rare = "rare", []intent.ID{in.ID}
			}
			requests <- in
		}
		close(requests)
		wg.Wait()
		page, err := t.List(t.Context(), store.Filter{Job: "rare"})
		require.NoError(t, err)
		require.Empty(t, page.Intents)
		require.NotZero(t, page.Next)
		require.Equal(t, rare, t.pages(store.Filter{Job: "rare"}))
	}},
	{"a page is a hundred long unless told otherwise", func(t *tester) {
		for range 101 {
			t.create()
		}
		page, err := t.List(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Len(t, page.Intents, 100)
		require.Equal(t, page.Intents[99].ID, page.Next)
	}},
}

// pages follows a list to its end.
func (t *tester) pages(f store.Filter) (all []intent.ID) {
	t.Helper()
	for {
		page, err := t.List(t.Context(), f)
		require.NoError(t, err)
		all = append(all, idsOf(page.Intents)...)
		if page.Next == (intent.ID{}) {
			return all
		}
		f.Before = page.Next
	}
}

var jobTests = []test{
	{"an intent is found by its job", func(t *tester) {
		held := t.createJob("/status/7?full=1")
		id, err := t.ByJob(t.Context(), store.JobKey{Scope: "default", StatusURL: "/status/7?full=1"})
		require.NoError(t, err)
		require.Equal(t, held.ID, id)
		for _, key := range []store.JobKey{{}, {Scope: "default", StatusURL: "/status/7"}, {Scope: "other", StatusURL: "/status/7?full=1"}, {StatusURL: "default/status/7?full=1"}} {
			_, err := t.ByJob(t.Context(), key)
			require.ErrorIs(t, err, store.ErrNotFound, "%+v", key)
		}
	}},
	{"it is found from the append on that delivered it, and after its end", func(t *tester) {
		held := t.reserve()
		key := store.JobKey{Scope: "default", StatusURL: "/status/8"}
		_, err := t.ByJob(t.Context(), key)
		require.ErrorIs(t, err, store.ErrNotFound)
		in, events := delivered(held.Intent, key.StatusURL)
		require.NoError(t, t.Append(t.Context(), change(held, in, events)))
		held.Intent = in
		for range 2 {
			id, err := t.ByJob(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, held.ID, id)
			if !held.Intent.Status.Terminal() {
				held.Intent = t.end(t.report(held, 1))
			}
		}
	}},
	{"of two intents of one job the later is found", func(t *tester) {
		key := store.JobKey{Scope: "default", StatusURL: "/status/9"}
		first := t.createJob(key.StatusURL)
		second := t.createJob(key.StatusURL)
		t.end(t.report(first, 1))
		id, err := t.ByJob(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, second.ID, id, "the first one's events do not bring it back")
		_, err = t.Purge(t.Context(), noon.Add(48*time.Hour), 10)
		require.NoError(t, err)
		id, err = t.ByJob(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, second.ID, id, "the first one's removal does not touch it")
	}},
	{"a job is adopted by the first who does, and held by them", func(t *tester) {
		heard, _ := t.listen()
		in, events := delivered(t.request(), "/status/10")
		held, err := t.Adopt(t.Context(), in, events, intent.ID{})
		require.NoError(t, err)
		t.stands(in, events)
		require.Len(t, heard.signals(), 1)
		second, more := delivered(t.request(), "/status/10")
		_, err = t.Adopt(t.Context(), second, more, intent.ID{})
		require.ErrorIs(t, err, store.ErrExists)
		t.absent(second.ID)
		require.Len(t, heard.signals(), 1)
		require.Empty(t, t.claim(10))
		t.report(held, 1)
	}},
	{"a job is adopted anew in place of the intent that was named", func(t *tester) {
		key := store.JobKey{Scope: "default", StatusURL: "/status/11"}
		first := t.createJob(key.StatusURL)
		t.end(t.report(first, 1))
		other, events := delivered(t.request(), key.StatusURL)
		_, err := t.Adopt(t.Context(), other, events, t.request().ID)
		require.ErrorIs(t, err, store.ErrExists)
		_, err = t.Adopt(t.Context(), other, events, first.ID)
		require.NoError(t, err)
		id, err := t.ByJob(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, other.ID, id)
	}},
	{"a removed intent is none to insist on", func(t *tester) {
		first := t.createJob("/status/12")
		t.end(t.report(first, 1))
		_, err := t.Purge(t.Context(), noon.Add(48*time.Hour), 10)
		require.NoError(t, err)
		in, events := delivered(t.request(), "/status/12")
		_, err = t.Adopt(t.Context(), in, events, first.ID)
		require.ErrorIs(t, err, store.ErrExists)
		_, err = t.Adopt(t.Context(), in, events, intent.ID{})
		require.NoError(t, err)
	}},
	{"what is adopted has events", func(t *tester) {
		_, err := t.Adopt(t.Context(), t.request(), nil, intent.ID{})
		require.ErrorIs(t, err, store.ErrConflict)
	}},
	{"a status URL may be long", func(t *tester) {
		long := "/status/" + string(slices.Repeat([]byte("x"), 100_000))
		held := t.createJob(long)
		id, err := t.ByJob(t.Context(), store.JobKey{Scope: "default", StatusURL: long})
		require.NoError(t, err)
		require.Equal(t, held.ID, id)
	}},
}

var purgeTests = []test{
	{"what has expired goes, with all that belongs to it", func(t *tester) {
		in := t.end(t.report(t.createJob("/status/1"), 1))
		for _, early := range []time.Time{{}, in.Expires.Add(-1)} {
			n, err := t.Purge(t.Context(), early, 10)
			require.NoError(t, err)
			require.Zero(t, n)
		}
		n, err := t.Purge(t.Context(), in.Expires, 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		t.absent(in.ID)
		_, err = t.ByJob(t.Context(), store.KeyOf(&in))
		require.ErrorIs(t, err, store.ErrNotFound)
		page, err := t.List(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Empty(t, page.Intents)

		fresh := intent.Intent{ID: in.ID, Origin: in.Origin}
		fresh, events := fresh.Begin(noon)
		_, err = t.Create(t.Context(), fresh, events)
		require.NoError(t, err)
		t.stands(fresh, events)
	}},
	{"what runs or is reserved stays", func(t *tester) {
		running := t.create()
		reserved := t.reserve()
		n, err := t.Purge(t.Context(), noon.AddDate(10, 0, 0), 10)
		require.NoError(t, err)
		require.Zero(t, n)
		t.get(running.ID)
		require.NoError(t, t.Drop(t.Context(), reserved.ID, reserved.Epoch))
	}},
	{"no more than asked for", func(t *tester) {
		for range 600 {
			in, events := t.request().Begin(noon)
			in, end := in.End(intent.Failed, intent.Details{}, noon)
			in.Expires = noon
			_, err := t.Create(t.Context(), in, append(events, end...))
			require.NoError(t, err)
		}
		for _, call := range []struct{ asked, removed int }{{0, 0}, {7, 7}, {550, 550}, {100, 43}, {100, 0}} {
			n, err := t.Purge(t.Context(), noon, call.asked)
			require.NoError(t, err)
			require.Equal(t, call.removed, n)
		}
	}},
}

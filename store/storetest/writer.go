package storetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var createTests = []test{
	{"what was created is read back whole", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		held, err := t.Create(t.Context(), in, events)
		require.NoError(t, err)
		require.Equal(t, in.ID, held.ID)
		require.Equal(t, text(t, in), text(t, held.Intent))
		t.stands(in, events)
	}},
	{"its creator holds it", func(t *tester) {
		held := t.create()
		require.Empty(t, t.claim(10))
		t.report(held, 1)
	}},
	{"an id is taken once", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		_, err := t.Create(t.Context(), in, events)
		require.NoError(t, err)
		_, err = t.Create(t.Context(), in, events)
		require.ErrorIs(t, err, store.ErrExists)
		_, err = t.Reserve(t.Context(), intent.Intent{ID: in.ID})
		require.ErrorIs(t, err, store.ErrExists)
		t.stands(in, events)
	}},
	{"an id stays taken after the end", func(t *tester) {
		in := t.end(t.report(t.create(), 1))
		again, events := delivered(intent.Intent{ID: in.ID, Origin: in.Origin}, "/status/1")
		_, err := t.Create(t.Context(), again, events)
		require.ErrorIs(t, err, store.ErrExists)
	}},
	{"events with a gap, of another intent or none are refused", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		foreign := append([]intent.Event(nil), events...)
		foreign[1].IntentID = t.request().ID
		for _, bad := range [][]intent.Event{nil, events[1:], events[:2], {events[0], events[2]}, foreign} {
			_, err := t.Create(t.Context(), in, bad)
			require.ErrorIs(t, err, store.ErrConflict)
		}
		t.absent(in.ID)
	}},
	{"an intent can begin with its end", func(t *tester) {
		in, events := t.request().Begin(noon)
		in, end := in.End(intent.Failed, intent.Details{}, noon)
		in.Expires = noon
		events = append(events, end...)
		held, err := t.Create(t.Context(), in, events)
		require.NoError(t, err)
		t.stands(in, events)
		_, err = t.Take(t.Context(), held.ID)
		require.ErrorIs(t, err, store.ErrEnded)
		n, err := t.Purge(t.Context(), noon, 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}},
	{"what was handed over is the store's, what is answered the caller's", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		want, wantEvents := text(t, in), text(t, events)
		held, err := t.Create(t.Context(), in, events)
		require.NoError(t, err)
		spoil := func(in intent.Intent, events []intent.Event) {
			in.Request[0] = 'X'
			in.Params["region"] = "us"
			for i := range events {
				events[i].Details.JobID = "other"
			}
		}
		spoil(in, events)
		spoil(held.Intent, nil)
		for range 2 {
			got, gotEvents := t.get(in.ID)
			require.Equal(t, want, text(t, got))
			require.Equal(t, wantEvents, text(t, gotEvents))
			spoil(got, gotEvents)
		}
	}},
	{"a context that has ended stores nothing", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		_, err := t.Create(canceled(t.T), in, events)
		require.Error(t, err)
		t.absent(in.ID)
	}},
}

var reserveTests = []test{
	{"readers do not see a reservation", func(t *tester) {
		held := t.reserve()
		t.absent(held.ID)
		page, err := t.List(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Empty(t, page.Intents)
	}},
	{"its maker holds it", func(t *tester) {
		t.reserve()
		require.Empty(t, t.claim(10))
	}},
	{"the first append makes it an intent", func(t *tester) {
		held := t.reserve()
		in, events := delivered(held.Intent, "/status/1")
		require.NoError(t, t.Append(t.Context(), change(held, in, events)))
		t.stands(in, events)
	}},
	{"an append without events leaves it a reservation", func(t *tester) {
		held := t.reserve()
		in := held.Intent
		in.Memory = "tried once"
		require.NoError(t, t.Append(t.Context(), change(held, in, nil)))
		t.absent(in.ID)
		t.release(held)
		claimed := t.claim(10)
		require.Len(t, claimed, 1)
		require.Equal(t, "tried once", claimed[0].Intent.Memory)
	}},
	{"a dropped one is gone", func(t *tester) {
		held := t.reserve()
		require.NoError(t, t.Drop(t.Context(), held.ID, held.Epoch))
		require.ErrorIs(t, t.Drop(t.Context(), held.ID, held.Epoch), store.ErrNotFound)
		_, err := t.Take(t.Context(), held.ID)
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = t.Reserve(t.Context(), held.Intent)
		require.NoError(t, err, "its id is free again")
	}},
	{"an intent cannot be dropped", func(t *tester) {
		held := t.create()
		require.ErrorIs(t, t.Drop(t.Context(), held.ID, held.Epoch), store.ErrConflict)
		t.get(held.ID)
	}},
	{"only its holder drops it", func(t *tester) {
		held := t.reserve()
		taken := t.take(held.ID)
		require.ErrorIs(t, t.Drop(t.Context(), held.ID, held.Epoch), store.ErrFenced)
		require.NoError(t, t.Drop(t.Context(), held.ID, taken.Epoch))
	}},
	{"what has events is no reservation", func(t *tester) {
		in, _ := delivered(t.request(), "/status/1")
		_, err := t.Reserve(t.Context(), in)
		require.ErrorIs(t, err, store.ErrConflict)
	}},
}

var appendTests = []test{
	{"events and latest values are stored together", func(t *tester) {
		held := t.create()
		_, before := t.get(held.ID)
		in, events := reading(held.Intent, 40)
		require.NoError(t, t.Append(t.Context(), change(held, in, events)))
		t.stands(in, append(before, events...))
	}},
	{"without events only the record changes", func(t *tester) {
		held := t.create()
		_, before := t.get(held.ID)
		in := held.Intent
		in.Due, in.Memory = noon.Add(5*time.Second), "etag-2"
		require.NoError(t, t.Append(t.Context(), change(held, in, nil)))
		t.stands(in, before)
	}},
	{"the origin is frozen", func(t *tester) {
		held := t.create()
		in, events := reading(held.Intent, 40)
		in.Origin = intent.Origin{Job: "other"}
		require.NoError(t, t.Append(t.Context(), change(held, in, events)))
		in.Origin = held.Intent.Origin
		got, _ := t.get(held.ID)
		require.Equal(t, text(t, in), text(t, got))
	}},
	{"a repeat answers nil and changes nothing", func(t *tester) {
		held := t.create()
		in, events := reading(held.Intent, 40)
		c := change(held, in, events)
		require.NoError(t, t.Append(t.Context(), c))
		held.Intent = in
		held = t.report(held, 60)
		want, wantEvents := t.get(held.ID)
		require.NoError(t, t.Append(t.Context(), c))
		t.stands(want, wantEvents)
	}},
	{"a repeat of the end answers nil", func(t *tester) {
		held := t.report(t.create(), 1)
		in, events := ended(held.Intent)
		require.NoError(t, t.Append(t.Context(), change(held, in, events)))
		require.NoError(t, t.Append(t.Context(), change(held, in, events)))
	}},
	{"other events in the same place are refused", func(t *tester) {
		held := t.create()
		in, events := reading(held.Intent, 40)
		require.NoError(t, t.Append(t.Context(), change(held, in, events)))
		other, others := reading(held.Intent, 41)
		require.ErrorIs(t, t.Append(t.Context(), change(held, other, others)), store.ErrConflict)
		got, _ := t.get(held.ID)
		require.Equal(t, text(t, in), text(t, got))
	}},
	{"a change made from an older state is refused", func(t *tester) {
		held := t.create()
		t.report(held, 40)
		in := held.Intent
		in.Memory = "late"
		require.ErrorIs(t, t.Append(t.Context(), change(held, in, nil)), store.ErrConflict)
	}},
	{"a gap is refused", func(t *tester) {
		held := t.create()
		in, events := reading(held.Intent, 40)
		ahead := change(held, in, events)
		ahead.After++
		ahead.Intent.Seq++
		ahead.Events[0].Seq++
		require.ErrorIs(t, t.Append(t.Context(), ahead), store.ErrConflict)
		unsound := change(held, in, events)
		unsound.Intent.Seq += 3
		require.ErrorIs(t, t.Append(t.Context(), unsound), store.ErrConflict)
	}},
	{"nothing follows the end", func(t *tester) {
		held := t.report(t.create(), 1)
		in := t.end(held)
		want, wantEvents := t.get(in.ID)
		late, events := reading(held.Intent, 50)
		require.ErrorIs(t, t.Append(t.Context(), change(held, late, events)), store.ErrEnded)
		require.ErrorIs(t, t.Append(t.Context(), change(store.Held{Lease: held.Lease, Intent: in}, in, nil)), store.ErrEnded)
		t.stands(want, wantEvents)
	}},
	{"what does not exist is not found", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		require.ErrorIs(t, t.Append(t.Context(), store.Change{Intent: in, Epoch: 1, Events: events}), store.ErrNotFound)
	}},
}

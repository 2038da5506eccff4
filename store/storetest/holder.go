package storetest

import (
	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var holdTests = []test{
	{"taking fences the holder before", func(t *tester) {
		held := t.create()
		taken := t.take(held.ID)
		require.Greater(t, taken.Epoch, held.Epoch)
		require.Equal(t, text(t, held.Intent), text(t, taken.Intent))
		in, events := reading(held.Intent, 40)
		require.ErrorIs(t, t.Append(t.Context(), change(held, in, events)), store.ErrFenced)
		require.ErrorIs(t, t.Append(t.Context(), change(held, held.Intent, nil)), store.ErrFenced)
		require.ErrorIs(t, t.Release(t.Context(), held.Lease), store.ErrFenced)
		t.report(taken, 40)
		require.Empty(t, t.claim(10), "it is held")
	}},
	{"a fenced holder is fenced after the end too", func(t *tester) {
		held := t.report(t.create(), 1)
		t.end(t.take(held.ID))
		in, events := reading(held.Intent, 40)
		require.ErrorIs(t, t.Append(t.Context(), change(held, in, events)), store.ErrFenced)
	}},
	{"an epoch that was never granted is fenced", func(t *tester) {
		held := t.create()
		held.Epoch++
		in, events := reading(held.Intent, 40)
		require.ErrorIs(t, t.Append(t.Context(), change(held, in, events)), store.ErrFenced)
	}},
	{"what is released can be claimed, once", func(t *tester) {
		running, reserved := t.create(), t.reserve()
		t.release(running)
		t.release(reserved)
		claimed := t.claim(10)
		require.ElementsMatch(t, []intent.ID{running.ID, reserved.ID}, ids(claimed))
		require.Empty(t, t.claim(10))
		for _, held := range claimed {
			require.False(t, held.Intent.Created.IsZero())
			t.release(held)
		}
		require.Len(t, t.claim(10), 2)
	}},
	{"who claimed may change", func(t *tester) {
		held := t.create()
		t.release(held)
		t.end(t.report(t.claim(1)[0], 40))
	}},
	{"who released may not change", func(t *tester) {
		held := t.create()
		t.release(held)
		in, events := reading(held.Intent, 40)
		require.ErrorIs(t, t.Append(t.Context(), change(held, in, events)), store.ErrFenced)
		require.ErrorIs(t, t.Release(t.Context(), held.Lease), store.ErrFenced)
		require.Len(t, t.claim(10), 1)
	}},
	{"what is released can be taken and is not claimed then", func(t *tester) {
		held := t.create()
		t.release(held)
		t.report(t.take(held.ID), 40)
		require.Empty(t, t.claim(10))
	}},
	{"a claim is never longer than asked for", func(t *tester) {
		for range 5 {
			t.release(t.create())
		}
		require.Empty(t, t.claim(0))
		require.Len(t, t.claim(3), 3)
		require.Len(t, t.claim(3), 2)
		require.Empty(t, t.claim(3))
	}},
	{"what has ended is neither claimed nor taken nor released", func(t *tester) {
		held := t.report(t.create(), 1)
		t.end(held)
		require.Empty(t, t.claim(10))
		_, err := t.Take(t.Context(), held.ID)
		require.ErrorIs(t, err, store.ErrEnded)
		require.ErrorIs(t, t.Release(t.Context(), held.Lease), store.ErrEnded)
	}},
	{"what does not exist is not found", func(t *tester) {
		_, err := t.Take(t.Context(), t.request().ID)
		require.ErrorIs(t, err, store.ErrNotFound)
		require.ErrorIs(t, t.Release(t.Context(), store.Lease{ID: t.request().ID, Epoch: 1}), store.ErrNotFound)
	}},
	{"renewing names what was lost", func(t *tester) {
		kept, taken, released, over := t.create(), t.create(), t.create(), t.report(t.create(), 1)
		t.take(taken.ID)
		t.release(released)
		t.end(over)
		lost, err := t.Renew(t.Context(), []store.Lease{kept.Lease, taken.Lease, released.Lease, over.Lease, {ID: t.request().ID}})
		require.NoError(t, err)
		require.Len(t, lost, 4)
		require.NotContains(t, lost, kept.ID)
	}},
}

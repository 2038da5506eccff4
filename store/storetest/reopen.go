package storetest

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Reopen tests stores that outlive their process. open opens the store in dir, and
// makes it there if there is none.
func Reopen(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	for _, way := range []struct {
		name  string
		again func(t *tester, dir string) (newDir string)
	}{
		{"after close", func(t *tester, dir string) string {
			require.NoError(t, t.Close())
			return dir
		}},
		// What was answered is in the files, whatever the process would have
		// written later: they are copied under the open store.
		{"after a crash", func(t *tester, dir string) string {
			crashed := t.TempDir()
			require.NoError(t, os.CopyFS(crashed, os.DirFS(dir)))
			return crashed
		}},
	} {
		for _, test := range reopenTests {
			t.Run(way.name+" "+test.promise, func(t *testing.T) {
				dir := t.TempDir()
				before := newTester(t, func(t *testing.T) store.Store { return open(t, dir) })
				test.run(before, func() *tester {
					dir = way.again(before, dir)
					after := newTester(t, func(t *testing.T) store.Store { return open(t, dir) })
					after.made = before.made
					before = after
					return after
				})
			})
		}
	}
}

var reopenTests = []struct {
	promise string
	run     func(t *tester, reopen func() *tester)
}{
	{"all that was answered is there", func(t *tester, reopen func() *tester) {
		m := newModel(t, seeded(t.T))
		for range 300 {
			require.NoError(t, m.step())
		}
		m.Store = reopen().Store
		m.compare()
		for _, x := range m.intents {
			x.held = false
		}
		require.NoError(t, m.claim())
		for _, x := range m.intents {
			if !x.in.Status.Terminal() && !x.held {
				held := m.tester.take(x.in.ID)
				x.epoch, x.held = held.Epoch, true
			}
		}
		for range 300 {
			require.NoError(t, m.step())
			require.NoError(t, m.claim())
		}
		m.compare()
	}},
	{"nobody holds anything, and each is claimed once", func(t *tester, reopen func() *tester) {
		var want []intent.ID
		for i := range 30 {
			held := t.create()
			switch i % 5 {
			case 0:
				t.end(t.report(held, 1))
				continue
			case 1:
				held = t.take(held.ID)
			case 2:
				t.release(held)
			case 3:
				want = append(want, t.reserve().ID)
			}
			want = append(want, held.ID)
		}
		after := reopen()
		var claimed []store.Held
		for {
			some := after.claim(4)
			claimed = append(claimed, some...)
			if len(some) < 4 {
				break
			}
		}
		require.ElementsMatch(t, want, ids(claimed))
		require.Empty(t, after.claim(10))
	}},
	{"an epoch is remembered", func(t *tester, reopen func() *tester) {
		old := t.create()
		t.take(old.ID)
		after := reopen()
		require.Len(t, after.claim(10), 1)
		in, events := reading(old.Intent, 1)
		require.ErrorIs(t, after.Append(t.Context(), change(old, in, events)), store.ErrFenced)
	}},
	{"what is made or taken before the first claim is not claimed", func(t *tester, reopen func() *tester) {
		old, left := t.create(), t.create()
		after := reopen()
		after.report(after.take(old.ID), 1)
		after.create()
		after.reserve()
		require.Equal(t, []intent.ID{left.ID}, ids(after.claim(10)))
	}},
	{"what nobody claimed cannot be changed", func(t *tester, reopen func() *tester) {
		old := t.create()
		after := reopen()
		in, events := reading(old.Intent, 1)
		require.ErrorIs(t, after.Append(t.Context(), change(old, in, events)), store.ErrFenced)
		claimed := after.claim(1)
		require.Len(t, claimed, 1)
		after.report(claimed[0], 1)
	}},
	{"messages wait, each as it was kept", func(t *tester, reopen func() *tester) {
		t.tells(t.create(), "a", "b")
		first := t.collect(noon.Add(time.Hour), noon.Add(2*time.Hour), 1)[0]
		first.Attempts, first.Failure = 1, "503"
		require.NoError(t, t.Keep(t.Context(), first))
		after := reopen()
		require.Equal(t, []string{"b"}, recipients(after.collect(noon.Add(time.Hour), noon.Add(3*time.Hour), 10)))
		again := after.collect(noon.Add(2*time.Hour), noon.Add(3*time.Hour), 10)
		require.Equal(t, []string{"a"}, recipients(again))
		require.Equal(t, 1, again[0].Attempts)
		require.NoError(t, after.Discard(t.Context(), again[0].MessageID))
		require.Equal(t, []string{"b"}, recipients(reopen().messages()))
	}},
	{"what has expired is removed", func(t *tester, reopen func() *tester) {
		in := t.end(t.report(t.create(), 1))
		after := reopen()
		n, err := after.Purge(t.Context(), in.Expires.Add(time.Hour), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		reopen().absent(in.ID)
	}},
	{"it can be done many times", func(t *tester, reopen func() *tester) {
		held := t.create()
		for i := range 5 {
			after := reopen()
			held = after.report(after.claim(1)[0], float64(i+1))
		}
		_, events := reopen().get(held.ID)
		require.Len(t, events, 3+5)
	}},
}

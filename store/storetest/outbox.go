package storetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// tells appends a reading whose event names these recipients.
func (t *tester) tells(held store.Held, to ...string) store.Held {
	t.Helper()
	in, events := reading(held.Intent, 50)
	events[0].Tell = to
	require.NoError(t, t.Append(t.Context(), change(held, in, events)))
	held.Intent = in
	return held
}

func (t *tester) collect(now, until time.Time, n int) []store.Message {
	t.Helper()
	messages, err := t.Collect(t.Context(), now, until, n)
	require.NoError(t, err)
	return messages
}

func (t *tester) messages() []store.Message {
	t.Helper()
	messages, err := t.Messages(t.Context(), store.MessageID{}, 1000)
	require.NoError(t, err)
	return messages
}

func recipients(messages []store.Message) (to []string) {
	for _, m := range messages {
		to = append(to, m.To)
	}
	return to
}

// late is after every event of the suite's intents.
var late = noon.Add(24 * time.Hour)

var outboxTests = []test{
	{"an event makes a message for each whom it names, whole", func(t *tester) {
		in, events := delivered(t.request(), "/status/1")
		events[0].Tell = []string{"https://a.example/hook?key=%00\x01é", ""}
		held, err := t.Create(t.Context(), in, events)
		require.NoError(t, err)
		last, more := ended(t.tells(t.report(held, 1), "b").Intent)
		more[len(more)-1].Tell = []string{"c"}
		require.NoError(t, t.Append(t.Context(), change(store.Held{Lease: held.Lease, Intent: t.intent(held.ID)}, last, more)))
		got := t.messages()
		require.Equal(t, []string{"", "https://a.example/hook?key=%00\x01é", "b", "c"}, recipients(got))
		_, stored := t.get(in.ID)
		for _, m := range got {
			require.Equal(t, in.ID, m.Intent)
			require.Equal(t, "default", m.Scope)
			require.Equal(t, "report", m.Job)
			require.Equal(t, text(t, stored[m.Seq-1]), text(t, m.Event))
			require.True(t, m.Due.Equal(m.Event.At))
			require.Zero(t, m.Attempts)
		}
	}},
	{"an event that names nobody makes none", func(t *tester) {
		t.end(t.report(t.create(), 1))
		require.Empty(t, t.messages())
		require.Empty(t, t.collect(late, late, 10))
	}},
	{"a change that is not stored makes none, and a repeated one no second", func(t *tester) {
		held := t.create()
		in, events := reading(held.Intent, 50)
		events[0].Tell = []string{"a"}
		fenced := change(held, in, events)
		fenced.Epoch++
		require.Error(t, t.Append(t.Context(), fenced))
		require.Empty(t, t.messages())
		c := change(held, in, events)
		require.NoError(t, t.Append(t.Context(), c))
		m := t.messages()[0]
		m.Attempts = 3
		require.NoError(t, t.Keep(t.Context(), m))
		require.NoError(t, t.Append(t.Context(), c))
		require.Equal(t, 3, t.messages()[0].Attempts)
		require.NoError(t, t.Discard(t.Context(), m.MessageID))
		require.NoError(t, t.Append(t.Context(), c))
		require.Empty(t, t.messages(), "what was discarded was told")
	}},
	{"what is due is collected once, the longest due first", func(t *tester) {
		for i := range 5 {
			t.tells(t.create(), fmt.Sprint(i))
		}
		require.Empty(t, t.collect(noon, late, 10), "none is due yet")
		require.Equal(t, []string{"0", "1"}, recipients(t.collect(late, late.Add(time.Minute), 2)))
		require.Equal(t, []string{"2", "3", "4"}, recipients(t.collect(late, late.Add(time.Second), 10)))
		require.Empty(t, t.collect(late, late, 10))
		require.Equal(t, []string{"2", "3", "4"}, recipients(t.collect(late.Add(time.Second), late.Add(time.Hour), 10)))
		require.Equal(t, []string{"0", "1"}, recipients(t.collect(late.Add(time.Minute), late.Add(time.Hour), 10)))
	}},
	{"what became of a try is kept", func(t *tester) {
		t.tells(t.create(), "a")
		m := t.collect(late, late.Add(time.Hour), 1)[0]
		require.True(t, m.Due.Equal(late.Add(time.Hour)))
		m.Due, m.Attempts, m.Failure = late.Add(time.Minute), 1, "503 Service Unavailable"
		m.Scope, m.Job, m.Event.Seq = "other", "other", 99 // is not its own to change
		require.NoError(t, t.Keep(t.Context(), m))
		got := t.collect(late.Add(time.Minute), late.Add(time.Hour), 1)[0]
		require.Equal(t, 1, got.Attempts)
		require.Equal(t, "503 Service Unavailable", got.Failure)
		require.Equal(t, []string{"default", "report"}, []string{got.Scope, got.Job})
		require.Equal(t, got.Seq, got.Event.Seq)
	}},
	{"a dead one is never due until it is revived", func(t *tester) {
		t.tells(t.create(), "a")
		m := t.messages()[0]
		m.Dead = true
		require.NoError(t, t.Keep(t.Context(), m))
		require.Empty(t, t.collect(late.Add(1000*time.Hour), late, 10))
		require.True(t, t.messages()[0].Dead)
		m.Dead, m.Due = false, late
		require.NoError(t, t.Keep(t.Context(), m))
		require.Len(t, t.collect(late, late, 10), 1)
	}},
	{"a discarded one is gone, and cannot be kept", func(t *tester) {
		t.tells(t.create(), "a", "b")
		m := t.messages()[0]
		require.NoError(t, t.Discard(t.Context(), m.MessageID))
		require.NoError(t, t.Discard(t.Context(), m.MessageID))
		require.ErrorIs(t, t.Keep(t.Context(), m), store.ErrNotFound)
		require.Equal(t, []string{"b"}, recipients(t.messages()))
		require.Equal(t, []string{"b"}, recipients(t.collect(late, late, 10)))
	}},
	{"a message outlives its intent", func(t *tester) {
		in := t.end(t.tells(t.create(), "a"))
		n, err := t.Purge(t.Context(), in.Expires, 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		t.absent(in.ID)
		require.Equal(t, in.ID, t.collect(late, late, 10)[0].Intent)
	}},
	{"all are listed in pages", func(t *tester) {
		var want []string
		for i := range 7 {
			to := strings.Repeat("x", i)
			t.tells(t.create(), to)
			want = append(want, to)
		}
		var got []string
		var after store.MessageID
		for {
			page, err := t.Messages(t.Context(), after, 3)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			got = append(got, recipients(page)...)
			after = page[len(page)-1].MessageID
		}
		require.Equal(t, want, got)
	}},
	{"many collect at once, and each gets its own", func(t *tester) {
		const many = 60
		for i := range many {
			t.tells(t.create(), fmt.Sprint(i))
		}
		var mu sync.Mutex
		got := make(map[intent.ID]int)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					messages, err := t.Collect(t.Context(), late, late.Add(time.Hour), 7)
					if err != nil || len(messages) == 0 {
						return
					}
					mu.Lock()
					for _, m := range messages {
						got[m.Intent]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Len(t, got, many)
		for id, n := range got {
			require.Equal(t, 1, n, id)
		}
	}},
	{"a closed store has no outbox", func(t *tester) {
		require.NoError(t, t.Close())
		_, err := t.Collect(t.Context(), late, late, 1)
		require.ErrorIs(t, err, store.ErrUnavailable)
		_, err = t.Messages(t.Context(), store.MessageID{}, 1)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.ErrorIs(t, t.Keep(t.Context(), store.Message{}), store.ErrUnavailable)
		require.ErrorIs(t, t.Discard(t.Context(), store.MessageID{}), store.ErrUnavailable)
	}},
}

// intent is the intent as it stands.
func (t *tester) intent(id intent.ID) intent.Intent {
	in, _ := t.get(id)
	return in
}

package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

var modelTests = []test{
	{"random calls answer what a plain map would", func(t *tester) {
		m := newModel(t, seeded(t.T))
		for range 1500 {
			require.NoError(t, m.step())
			if m.chance.IntN(10) == 0 {
				require.NoError(t, m.claim())
			}
			if m.chance.IntN(100) == 0 {
				require.NoError(t, m.purge())
			}
		}
		m.compare()
	}},
	{"so do those of many callers at once", func(t *tester) {
		const callers = 8
		chance := seeded(t.T)
		models := make([]*model, callers)
		failures := make([]error, callers)
		var wg sync.WaitGroup
		for i := range models {
			models[i] = newModel(t, rand.New(rand.NewPCG(chance.Uint64(), 0)))
			wg.Go(func() {
				for range 200 {
					if failures[i] = models[i].step(); failures[i] != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		for i, m := range models {
			require.NoError(t, failures[i])
			m.compare()
		}
	}},
}

// A model does to a map what it has the store do.
type model struct {
	*tester
	chance  *rand.Rand
	intents map[intent.ID]*modelled
	order   []intent.ID // of creation; those that are gone too
}

type modelled struct {
	in     intent.Intent
	events []intent.Event
	epoch  int64
	held   bool
	last   *store.Change // the last change that was stored
}

func newModel(t *tester, chance *rand.Rand) *model {
	own := &tester{T: t.T, Store: t.Store, made: chance.IntN(1 << 20)}
	return &model{tester: own, chance: chance, intents: make(map[intent.ID]*modelled)}
}

// step makes one random call and compares the answer.
func (m *model) step() error {
	if len(m.order) == 0 || m.chance.IntN(8) == 0 {
		return m.begin()
	}
	// Young ones are met more often, so that some live long and some never.
	id := m.order[len(m.order)-1-m.chance.IntN(min(len(m.order), 12))]
	x := m.intents[id]
	lease := store.Lease{ID: id, Epoch: 1}
	if x != nil {
		lease.Epoch = x.epoch - int64(m.chance.IntN(5)/4) // one in five is of an older holder
	}
	switch m.chance.IntN(10) {
	case 0:
		return m.take(x, id)
	case 1:
		return m.release(x, lease)
	case 2:
		return m.drop(x, lease)
	case 3:
		return m.repeat(x)
	}
	return m.append(x, lease)
}

func (m *model) begin() error {
	in := m.request()
	x := &modelled{in: in, epoch: 1, held: true}
	var err error
	if m.chance.IntN(3) == 0 {
		_, err = m.Reserve(m.Context(), in)
	} else {
		x.in, x.events = delivered(in, fmt.Sprintf("/%s", in.ID))
		_, err = m.Create(m.Context(), x.in, x.events)
	}
	m.intents[in.ID] = x
	m.order = append(m.order, in.ID)
	return expect("begin", nil, err)
}

func (m *model) append(x *modelled, l store.Lease) error {
	c := store.Change{Epoch: l.Epoch}
	if x == nil {
		c.Intent, c.Events = delivered(intent.Intent{ID: l.ID}, "/")
		return expect("append", store.ErrNotFound, m.Append(m.Context(), c))
	}
	in, events := m.next(x.in)
	c.Intent, c.After, c.Events = in, x.in.Seq, events
	want := x.may(l)
	if err := expect("append", want, m.Append(m.Context(), c)); err != nil || want != nil {
		return err
	}
	x.in, x.events, x.last = in, append(x.events, events...), &c
	x.held = !in.Status.Terminal()
	return nil
}

// next makes something that can happen to an intent; after its end, nothing can,
// and a change without events is what is left to try.
func (m *model) next(in intent.Intent) (intent.Intent, []intent.Event) {
	switch {
	case in.Reserved():
		return delivered(in, fmt.Sprintf("/%s", in.ID))
	case in.Status == intent.InProgress && m.chance.IntN(6) == 0:
		return ended(in)
	case m.chance.IntN(4) == 0 || in.Status.Terminal():
		in.Memory = fmt.Sprint(m.chance.Uint64())
		return in, nil
	}
	return reading(in, 100*m.chance.Float64())
}

// repeat sends the last change again.
func (m *model) repeat(x *modelled) error {
	if x == nil || x.last == nil || len(x.last.Events) == 0 || x.last.Epoch != x.epoch {
		return nil
	}
	return expect("repeat", nil, m.Append(m.Context(), *x.last))
}

func (m *model) take(x *modelled, id intent.ID) error {
	held, err := m.Take(m.Context(), id)
	switch {
	case x == nil:
		return expect("take", store.ErrNotFound, err)
	case x.in.Status.Terminal():
		return expect("take", store.ErrEnded, err)
	}
	x.epoch++
	x.held = true
	if held.Epoch != x.epoch {
		return fmt.Errorf("take: epoch %d, want %d", held.Epoch, x.epoch)
	}
	return expect("take", nil, err)
}

func (m *model) release(x *modelled, l store.Lease) error {
	want := x.may(l)
	if want == nil {
		x.held = false
	}
	return expect("release", want, m.Release(m.Context(), l))
}

func (m *model) drop(x *modelled, l store.Lease) error {
	want := x.may(l)
	if want == nil && x.in.Seq > 0 {
		want = store.ErrConflict
	}
	if want == nil {
		delete(m.intents, l.ID)
	}
	return expect("drop", want, m.Drop(m.Context(), l.ID, l.Epoch))
}

// claim takes some of what is free, and compares that it was.
func (m *model) claim() error {
	free := 0
	for _, x := range m.intents {
		if !x.held && !x.in.Status.Terminal() {
			free++
		}
	}
	n := 1 + m.chance.IntN(5)
	claimed, err := m.Claim(m.Context(), n)
	if err := expect("claim", nil, err); err != nil {
		return err
	}
	if len(claimed) != min(n, free) {
		return fmt.Errorf("claim: %d, want %d", len(claimed), min(n, free))
	}
	for _, held := range claimed {
		x := m.intents[held.ID]
		if x == nil || x.held || x.in.Status.Terminal() || text(m, x.in) != text(m, held.Intent) {
			return fmt.Errorf("claim: %s was not free or is not what was stored", held.ID)
		}
		x.held, x.epoch = true, held.Epoch // a claim may begin an epoch
	}
	return nil
}

func (m *model) purge() error {
	now := m.request().Created
	want := 0
	for id, x := range m.intents {
		if x.in.Status.Terminal() && !x.in.Expires.After(now) {
			delete(m.intents, id)
			want++
		}
	}
	n, err := m.Purge(m.Context(), now, len(m.order))
	if n != want {
		return fmt.Errorf("purge: %d, want %d", n, want)
	}
	return expect("purge", nil, err)
}

// compare holds all that can be read against the map.
func (m *model) compare() {
	m.Helper()
	var visible []intent.ID
	for _, id := range m.order {
		x := m.intents[id]
		if x == nil || x.in.Reserved() {
			m.absent(id)
			continue
		}
		visible = append(visible, id)
		m.stands(x.in, x.events)
		found, err := m.ByJob(m.Context(), store.KeyOf(&x.in))
		require.NoError(m, err)
		require.Equal(m, id, found)
	}
	listed := m.pages(store.Filter{Limit: 17})
	listed = slices.DeleteFunc(listed, func(id intent.ID) bool { return !slices.Contains(visible, id) })
	require.ElementsMatch(m, visible, listed)
}

// may is what the contract answers to a change by l.
func (x *modelled) may(l store.Lease) error {
	switch {
	case x == nil:
		return store.ErrNotFound
	case x.epoch != l.Epoch:
		return store.ErrFenced
	case x.in.Status.Terminal():
		return store.ErrEnded
	case !x.held:
		return store.ErrFenced
	}
	return nil
}

func expect(what string, want, got error) error {
	if !errors.Is(got, want) {
		return fmt.Errorf("%s: answered %v, want %v", what, got, want)
	}
	return nil
}

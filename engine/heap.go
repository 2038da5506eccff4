package engine

// A heap orders held intents by their next moment. It is 4-ary with the key
// inline: at a million entries a reschedule costs a third of container/heap and
// no allocation. Each entry knows its place, so that it can be moved or removed.
type heap struct {
	slots []slot
	of    int // which of an entry's places is the one in this heap
}

// The heaps that an entry has a place in.
const (
	inSchedule = iota
	inCrowd
	inTally
)

type slot struct {
	at moment
	h  *held
}

const heapArity = 4

// next returns the moment of the first entry, or never.
func (q *heap) next() moment {
	if len(q.slots) == 0 {
		return never
	}
	return q.slots[0].at
}

// set puts h at a moment, whether it is in the heap already or not.
func (q *heap) set(h *held, at moment) {
	if h.places[q.of] < 0 {
		last := len(q.slots)
		h.places[q.of] = int32(last)
		q.slots = append(q.slots, slot{at, h})
		q.up(last)
		return
	}
	i := int(h.places[q.of])
	earlier := at < q.slots[i].at
	q.slots[i].at = at
	if earlier {
		q.up(i)
	} else {
		q.down(i)
	}
}

// pop removes and returns the first entry.
func (q *heap) pop() *held {
	h := q.slots[0].h
	q.remove(h)
	return h
}

// remove takes h out; it does nothing to an entry that is not in the heap.
func (q *heap) remove(h *held) {
	i := int(h.places[q.of])
	if i < 0 {
		return
	}
	h.places[q.of] = -1
	last := len(q.slots) - 1
	moved := q.slots[last]
	q.slots[last] = slot{}
	q.slots = q.slots[:last]
	if i == last {
		return
	}
	q.put(i, moved)
	q.up(i)
	q.down(int(moved.h.places[q.of]))
}

func (q *heap) put(i int, s slot) {
	q.slots[i] = s
	s.h.places[q.of] = int32(i)
}

func (q *heap) up(i int) {
	s := q.slots[i]
	for i > 0 {
		parent := (i - 1) / heapArity
		if q.slots[parent].at <= s.at {
			break
		}
		q.put(i, q.slots[parent])
		i = parent
	}
	q.put(i, s)
}

func (q *heap) down(i int) {
	s := q.slots[i]
	for {
		first := i*heapArity + 1
		if first >= len(q.slots) {
			break
		}
		least := first
		for c := first + 1; c < min(first+heapArity, len(q.slots)); c++ {
			if q.slots[c].at < q.slots[least].at {
				least = c
			}
		}
		if q.slots[least].at >= s.at {
			break
		}
		q.put(i, q.slots[least])
		i = least
	}
	q.put(i, s)
}

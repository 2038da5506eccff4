package engine

import "slices"

// A sending is a submit that is being delivered. A backend may take minutes to answer
// one, and to break it off would leave nobody knowing whether there is a job. So it has
// a place on the lane for as long as a poll may take. After that it is as a client's own
// submit that takes its time: a connection that waits, which holds up nobody.
type sending struct {
	turn  turn
	until moment // it has its place until then
	pace  Pace
}

// A sent counts submits that are being delivered.
type sent struct {
	placed int // of them, those that still have a place
	all    int
}

// leastSent is how many submits may be at a backend in any case: one job may have three
// that hang, and another still gets through.
const leastSent = 4

// maySend reports whether one more submit of a job may be delivered. Half of the lane is
// left to polls, or a backend that is slow to take submits would not be polled, and a
// quarter of the rest to other jobs, which one that hangs must not keep waiting. A lane
// of one place has another one for submits.
func (l *lane) maySend(c *circuit) bool {
	places, most := max(l.inFlight/2, 1), max(l.inFlight, leastSent)
	return l.sent.placed < places && c.sent.placed < max(places-places/4, 1) &&
		l.sent.all < most && c.sent.all < most-most/4
}

// places is how many requests may be under way that have a place.
func (l *lane) places() int { return max(l.inFlight, 2) }

// mayPoll reports whether one more poll may go.
func (l *lane) mayPoll() bool { return l.running < l.places() && l.running-l.sent.placed < l.inFlight }

// send notes that the submit whose turn it is goes to the backend.
func (l *lane) send(t turn, now moment, pace Pace) *sending {
	s := &sending{turn: t, until: now.add(pace.Timeout), pace: pace}
	l.sendings = append(l.sendings, s)
	for _, n := range []*sent{&l.sent, &t.circuit.sent} {
		n.placed++
		n.all++
	}
	return s
}

// outlast takes the places of those that have had theirs for long enough.
func (l *lane) outlast(now moment) {
	l.sendings = slices.DeleteFunc(l.sendings, func(s *sending) bool {
		if now < s.until {
			return false
		}
		l.displace(s)
		s.turn.circuit.outlast(now, s.turn.probe, s.pace)
		return true
	})
}

func (l *lane) displace(s *sending) {
	l.running--
	l.sent.placed--
	s.turn.circuit.sent.placed--
}

// soonestOutlast is when the next place is taken; never if there is none.
func (l *lane) soonestOutlast() moment {
	at := never
	for _, s := range l.sendings {
		at = min(at, s.until)
	}
	return at
}

// arrive notes that a submit is delivered, or not, and reports whether it had its place
// to the end.
func (l *lane) arrive(s *sending) (placed bool) {
	l.sent.all--
	s.turn.circuit.sent.all--
	i := slices.Index(l.sendings, s)
	if i < 0 {
		return false
	}
	l.sendings = slices.Delete(l.sendings, i, i+1)
	l.displace(s)
	return true
}

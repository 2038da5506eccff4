package intent

import "slices"

// A Status says where an intent stands. The zero value is a reservation: written
// ahead of the POST, and not an intent until the backend's answer is known.
type Status string

const (
	Created    Status = "CREATED"     // the request is known to us
	Submitted  Status = "SUBMITTED"   // the request is stored
	Delivered  Status = "DELIVERED"   // the backend's answer named a job
	InProgress Status = "IN_PROGRESS" // the backend's status was read at least once
	Completed  Status = "COMPLETED"   // the backend says the job is done
	Failed     Status = "FAILED"      // the backend says it failed, or we gave up on it
	Canceled   Status = "CANCELED"    // the backend or a client ended it early
	TimedOut   Status = "TIMED_OUT"   // its deadline passed, or the backend says it ran out of time
)

// Statuses lists every status in the order of an intent's life.
func Statuses() []Status {
	return []Status{Created, Submitted, Delivered, InProgress, Completed, Failed, Canceled, TimedOut}
}

// successors is the whole state machine. IN_PROGRESS follows itself: events that
// report progress keep the status. COMPLETED follows IN_PROGRESS only, so that a
// client may rely on having seen the job run.
var successors = map[Status][]Status{
	"":         {Created},
	Created:    {Submitted, Failed, Canceled, TimedOut},
	Submitted:  {Submitted, Delivered, Failed, Canceled, TimedOut},
	Delivered:  {InProgress, Failed, Canceled, TimedOut},
	InProgress: {InProgress, Completed, Failed, Canceled, TimedOut},
	Completed:  nil,
	Failed:     nil,
	Canceled:   nil,
	TimedOut:   nil,
}

// Terminal reports whether nothing can follow s.
func (s Status) Terminal() bool {
	next, known := successors[s]
	return known && len(next) == 0
}

// Precedes reports whether an event of status next may follow one of status s.
func (s Status) Precedes(next Status) bool {
	return slices.Contains(successors[s], next)
}

// Package failpoint names the steps of the main path at which a process can be killed
// in a test. With the build tag failpoints, INTENTS_FAILPOINT=<point>:<n> in the
// environment kills the process when it comes to that point for the n-th time.
// Without the tag, which is how it is shipped, [Hit] is nothing.
package failpoint

// A Point is a step: what was done last, or is about to be done.
type Point string

const (
	Reserved  Point = "reserved"  // a reservation is stored, ahead of its request
	Sending   Point = "sending"   // a client's request is about to be sent
	Answered  Point = "answered"  // it was answered with a job, which is not stored
	Stored    Point = "stored"    // its intent is stored, and the client not answered
	Told      Point = "told"      // the client is answered
	Dropping  Point = "dropping"  // it was answered with no job: its reservation is about to go
	Queueing  Point = "queueing"  // a queued submit is read, and not stored
	Queued    Point = "queued"    // it is stored, and the client not answered
	Marking   Point = "marking"   // its delivery is due
	Marked    Point = "marked"    // it is stored that it is sent, and it is not
	Tried     Point = "tried"     // it was answered, or was not, and that is not stored
	Concluded Point = "concluded" // that is stored
	Polled    Point = "polled"    // a poll brought news that is not stored
	Appended  Point = "appended"  // news are stored
	Canceling Point = "canceling" // the backend has canceled the job, which is not stored
	Expiring  Point = "expiring"  // a deadline has passed, and its end is not stored

	Committing Point = "committing" // the store is about to write and sync
	Committed  Point = "committed"  // it has, and nobody knows yet
	Rung       Point = "rung"       // observers know, and those who wrote do not

	Claimed    Point = "claimed"    // at a start: an intent of an earlier life was taken over
	Uncertain  Point = "uncertain"  // and it is a reservation of which nobody knows what became
	Clarifying Point = "clarifying" // and it was sent, and its answer has not come
)

// All are all points.
var All = []Point{
	Reserved, Sending, Answered, Stored, Told, Dropping, Queueing, Queued, Marking, Marked, Tried, Concluded,
	Polled, Appended, Canceling, Expiring, Committing, Committed, Rung, Claimed, Uncertain, Clarifying,
}

// Variable is the one in the environment that names the point and the time.
const Variable = "INTENTS_FAILPOINT"

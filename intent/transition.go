package intent

import (
	"strings"
	"time"
)

// beginning is how many events a submit has at most whose job has not ended: created,
// submitted, delivered, in progress.
const beginning = 4

// Begin makes a reservation an intent: its first two events.
func (in Intent) Begin(now time.Time) (Intent, []Event) {
	if !in.Status.Precedes(Created) {
		return in, nil
	}
	log := log{make([]Event, 0, beginning)}
	log.append(&in, Created, Details{}, now)
	log.append(&in, Submitted, Details{Attempt: 1}, now)
	return in, log.events
}

// Deliver records what the backend's answer to the submit named.
func (in Intent) Deliver(d Delivery, now time.Time) (Intent, []Event) {
	if !in.Status.Precedes(Delivered) {
		return in, nil
	}
	in.Delivery, in.Waiting = d, ""
	var log log
	log.append(&in, Delivered, Details{JobID: d.JobID}, now)
	return in, log.events
}

// Miss records that a try to deliver the request came to nothing and when the next one
// follows. What has no place in the log is not told; the next try is.
func (in Intent) Miss(why Error, retryAt, now time.Time) (Intent, []Event) {
	if in.Status != Submitted {
		return in, nil
	}
	in.Waiting = "backend"
	if !in.mayReport(now) {
		return in, nil
	}
	in.Reports++
	in.ReportedAt = now
	at := retryAt.UTC()
	var log log
	log.add(&in, TypeDeliveryFailed, in.Status, Details{Attempt: in.Attempts, RetryAt: &at, Error: clipError(&why, in.Status)}, now)
	return in, log.events
}

// Apply records a reading. The first one makes the intent IN_PROGRESS even if the
// job is over already; a reading that says nothing new makes no event; readings
// after the end are ignored. Progress is never taken back: backends recount, and
// a bar that jumps tells nobody anything. A job that fails after the backend took a
// cancel was canceled: many backends have no other word for that.
func (in Intent) Apply(r Reading, now time.Time) (Intent, []Event) {
	if in.Status != Delivered && in.Status != InProgress {
		return in, nil
	}
	if r.Status == Failed && in.Cancel == CancelTaken {
		r.Status = Canceled
	}
	in.learn(r, now)
	var log log
	switch {
	case in.Status == Delivered:
		log.append(&in, InProgress, in.report(), now)
	case r.Status == InProgress && in.Untold && in.mayReport(now):
		log.report(&in, in.report(), now)
	}
	if r.Status.Terminal() {
		log.end(&in, r.Status, now)
	}
	return in, log.events
}

// Wait records why nothing moves ("backend", "unreadable"), until the next reading
// does away with it. Before the first reading there is no event for it. What had no
// place when the waiting began is told by a later call: no reading may come that
// carries it.
func (in Intent) Wait(why string, now time.Time) (Intent, []Event) {
	if in.Status != Delivered && in.Status != InProgress {
		return in, nil
	}
	if in.Waiting != why {
		in.Waiting, in.Untold = why, true
	}
	var log log
	if in.Status == InProgress && in.Untold && in.mayReport(now) {
		log.report(&in, in.report(), now)
	}
	return in, log.events
}

// End ends the intent for a reason that is not a reading: its deadline, a cancel,
// a backend that could not be understood. Of why only Error and Backend count.
func (in Intent) End(status Status, why Details, now time.Time) (Intent, []Event) {
	if !in.Status.Precedes(status) {
		return in, nil
	}
	in.Error = why.Error
	var log log
	log.end(&in, status, now)
	log.events[0].Details.Backend = why.Backend
	return in, log.events
}

// learn takes over what a reading tells, within the bounds of an event.
func (in *Intent) learn(r Reading, now time.Time) {
	before := in.Latest
	if r.Progress != nil && (in.Progress == nil || *r.Progress > *in.Progress) {
		in.Progress = r.Progress
	}
	if r.Message != "" {
		in.Message = clip(r.Message, MaxMessage)
	}
	in.UnknownState = clip(r.UnknownState, MaxMessage)
	in.Waiting = ""
	in.Result, in.ResultURL = r.Result, r.ResultURL
	if sizeInFrame(in.Result) > MaxResult || len(in.ResultURL) > MaxURL {
		in.Result, in.ResultURL = nil, in.whereResultIs()
	}
	in.Error = r.Error
	if in.Status != r.Status || in.Progress != before.Progress || in.Message != before.Message || in.UnknownState != before.UnknownState {
		in.Moved = now
	}
	if in.Progress != before.Progress || in.Message != before.Message ||
		in.UnknownState != before.UnknownState || in.Waiting != before.Waiting {
		in.Untold = true
	}
}

// whereResultIs points at the job's own status answer, for a result, or its URL, too
// large for an event. A query may hold a key that is the backend's secret: then nothing is
// told rather than that.
func (in *Intent) whereResultIs() string {
	if in.StatusURL == "" || strings.Contains(in.StatusURL, "?") {
		return ""
	}
	if u := in.ClientURL(in.StatusURL); len(u) <= MaxURL {
		return u
	}
	return ""
}

// report is the part of Latest that every event about a running job carries.
func (in *Intent) report() Details {
	return Details{Progress: in.Progress, Message: in.Message, UnknownState: in.UnknownState, Waiting: in.Waiting}
}

// log collects the events of one transition and keeps the intent in step.
type log struct{ events []Event }

func (l *log) append(in *Intent, status Status, details Details, now time.Time) {
	l.add(in, typeOf[status], status, details, now)
}

func (l *log) report(in *Intent, details Details, now time.Time) {
	in.Reports++
	in.ReportedAt = now
	l.add(in, TypeInProgress, in.Status, details, now)
}

func (l *log) end(in *Intent, status Status, now time.Time) {
	in.Error = clipError(in.Error, status)
	if status != Completed {
		in.Result, in.ResultURL = nil, ""
	}
	in.Waiting = ""
	details := in.report()
	details.JobID, details.Result, details.ResultURL, details.Error = in.JobID, in.Result, in.ResultURL, in.Error
	l.append(in, status, details, now)
}

func (l *log) add(in *Intent, t EventType, status Status, details Details, now time.Time) {
	if now.Before(in.Updated) {
		now = in.Updated // another machine's clock was ahead: what comes later is not earlier
	}
	in.Status = status
	in.Seq++
	in.Updated = now
	in.Untold = false
	l.events = append(l.events, Event{IntentID: in.ID, Seq: in.Seq, Type: t, Status: status, At: now, Details: details})
}

// clipError bounds an error and sees to it that every end but COMPLETED has one.
func clipError(e *Error, status Status) *Error {
	if status == Completed {
		return nil
	}
	if e == nil {
		e = &Error{Code: strings.ToLower(string(status)), Category: ByBackend}
	}
	clipped := *e
	clipped.Code = clip(clipped.Code, 128)
	clipped.Message = clip(clipped.Message, MaxError-256)
	return &clipped
}

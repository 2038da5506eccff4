package intent

import (
	"math"
	"time"
)

// The event budget. An intent may run for a day and its backend may count every
// row; its log must stay small enough to be read whole at each reconnect. So
// MaxEvents bounds it: StatusEvents places are kept for changes of status, the
// rest is for reports, which change none. The first BriskReports may come one a
// second. After those, the pause grows with the intent's age such that the places
// last until the deadline: with p = 176 places left, events at a pause of
// age x ln(deadline/64s)/p reach the deadline with the last of them. For a
// deadline of 24 h the pause is 25 s at an age of 10 min and 147 s at 1 h.
const (
	MaxEvents    = 256
	StatusEvents = 16
	BriskReports = 64
)

const (
	maxReports  = MaxEvents - StatusEvents
	slowReports = maxReports - BriskReports
	briskPause  = time.Second
)

// mayReport tells whether an event that changes no status has a place at now.
// What it refuses is not lost: Untold makes a later event carry it.
func (in *Intent) mayReport(now time.Time) bool {
	switch {
	case in.Reports == 0:
		return true
	case in.Reports >= maxReports:
		return false
	}
	return now.Sub(in.ReportedAt) >= in.reportPause(now)
}

func (in *Intent) reportPause(now time.Time) time.Duration {
	if in.Reports < BriskReports {
		return briskPause
	}
	age := now.Sub(in.Created)
	life := in.Deadline.Sub(in.Created)
	brisk := BriskReports * briskPause
	if life <= brisk {
		return briskPause
	}
	pause := time.Duration(float64(age) * math.Log(float64(life)/float64(brisk)) / slowReports)
	return max(pause, briskPause)
}

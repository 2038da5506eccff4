package adapter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a backend can ask for by Retry-After.
const (
	MinRetryAfter = 100 * time.Millisecond
	MaxRetryAfter = 5 * time.Minute
)

// Numbers above these are no delays but points in time: at least one FHIR server
// sends Unix seconds from one branch of its code and milliseconds from another.
const (
	epochSeconds = 1_000_000_000
	epochMillis  = 100_000_000_000
)

// RetryAfter is how long the backend wants to be left alone, within the bounds; 0
// if it does not say so in a form that can be read: seconds, also with a fraction,
// or a date. What lies in the past means the least wait.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	for _, value := range h.Values("Retry-After") {
		value = strings.TrimSpace(value)
		if wait, ok := retrySeconds(value, now); ok {
			return min(max(wait, MinRetryAfter), MaxRetryAfter)
		}
		if at, err := http.ParseTime(value); err == nil {
			return min(max(at.Sub(now), MinRetryAfter), MaxRetryAfter)
		}
	}
	return pollInterval(h)
}

// pollInterval is what two other headers say, where there is no Retry-After: seconds
// in X-Poll-Interval (https://docs.github.com/rest/activity/events), milliseconds in
// Poll-Interval.
func pollInterval(h http.Header) time.Duration {
	for _, hint := range []struct {
		name string
		unit time.Duration
	}{{"X-Poll-Interval", time.Second}, {"Poll-Interval", time.Millisecond}} {
		said := strings.TrimSpace(h.Get(hint.name))
		if said == "" {
			continue
		}
		if n, err := strconv.ParseUint(said, 10, 32); err == nil && n > 0 {
			return min(max(time.Duration(n)*hint.unit, MinRetryAfter), MaxRetryAfter)
		}
	}
	return 0
}

func retrySeconds(value string, now time.Time) (time.Duration, bool) {
	if value == "" || strings.Trim(value, "-.0123456789") != "" {
		return 0, false // also what only ParseFloat takes for a number: inf, 0x1p4, 1_0
	}
	f, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil && f == 0:
		return 0, false
	case f >= epochMillis && f < epochMillis*1000:
		return time.UnixMilli(int64(f)).Sub(now), true
	case f >= epochSeconds && f < epochMillis:
		return time.Unix(int64(f), 0).Sub(now), true
	}
	return time.Duration(min(max(f, 0), MaxRetryAfter.Seconds()) * float64(time.Second)), true
}

// retryAfter reads the header of an answer. A date is compared with the backend's
// own clock, so that a clock that is wrong does no harm.
func (a Answer) retryAfter() time.Duration {
	if len(a.Header.Values("Retry-After")) == 0 {
		return pollInterval(a.Header)
	}
	now, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		now = a.At
	}
	return RetryAfter(a.Header, now)
}

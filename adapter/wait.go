package adapter

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A longPoll is a compiled wait: what makes a status request wait at the backend.
type longPoll struct {
	query string        // without the question mark
	keys  []string      // what it replaces in a URL that has them already
	wait  time.Duration // 0 if the query does not tell
}

// Bounds of a wait. A number is seconds, unless no server would wait that long.
const (
	maxWait     = 10 * time.Minute
	maxSeconds  = 1000
	waitsUnsure = 4 // how many poll timeouts a wait of unknown length may take
)

func (c *compiler) wait() error {
	if c.spec.Poll == nil || c.spec.Poll.Wait == "" {
		return nil
	}
	written := c.spec.Poll.Wait
	query := strings.TrimLeft(written, "?&")
	switch {
	case query == "" || !strings.Contains(query, "="):
		return specErr("poll wait", "%q is no query: write what makes a status request wait, such as ?timeout=30", written)
	case strings.ContainsFunc(query, func(r rune) bool { return strings.ContainsRune(" #{}\\", r) || isControl(r) }), !utf8.ValidString(query):
		return specErr("poll wait", "%q is no query: it has a space, a brace, a # or the like; write them as %%20", written)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return specErr("poll wait", "%q is no query: %w", written, err)
	}
	w := &longPoll{query: escapeLiteral(query)}
	for key, told := range values {
		w.keys = append(w.keys, key)
		for _, value := range told {
			w.wait = max(w.wait, waitOf(value))
		}
	}
	if w.wait > maxWait {
		return specErr("poll wait", "%q waits for %s: write %s at most", written, w.wait, maxWait)
	}
	c.job.longPoll = w
	return nil
}

// waitOf reads the length of a wait: 30, 30s, or 30000 for milliseconds.
func waitOf(value string) time.Duration {
	if d, err := time.ParseDuration(value); err == nil {
		return max(d, 0)
	}
	n, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil || !(n > 0):
		return 0
	case n < maxSeconds:
		return time.Duration(n * float64(time.Second))
	case n > float64(maxWait/time.Millisecond):
		return maxWait + 1
	}
	return time.Duration(n * float64(time.Millisecond))
}

// Waits reports whether the backend can be asked to wait with its answer until
// there is something new.
func (j *Job) Waits() bool { return j.longPoll != nil }

// WaitRequest makes a poll wait at the backend.
func (j *Job) WaitRequest(poll Request) Request {
	path, query, _ := strings.Cut(poll.URL, "?")
	var keep []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); pair != "" && (err != nil || !slices.Contains(j.longPoll.keys, name)) {
			keep = append(keep, pair)
		}
	}
	poll.URL = path + "?" + strings.Join(append(keep, j.longPoll.query), "&")
	return poll
}

// WaitTimeout is how long a poll that waits may take, if any other may take d.
func (j *Job) WaitTimeout(d time.Duration) time.Duration {
	if j.longPoll.wait == 0 {
		return waitsUnsure * d
	}
	return j.longPoll.wait + d
}

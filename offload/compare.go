package offload

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// A comparison says whether what polls say is what the backend says to a client, where
// it may have a job by the same id for each user. The client's own answer lies between
// two polls: what is the same in both and another in its own is not due to the time
// that has passed. The first poll after the client's answer decides.
type comparison struct {
	before *adapter.Answer // to the last poll before the client's answer; nil if none is kept

	once  sync.Once
	mu    sync.Mutex
	other bool // the two have different words
}

// lacks reports whether nothing can be compared, because no poll was before.
func (c *comparison) lacks() bool { return c != nil && c.before == nil }

// differs compares own with the polls before and after it.
func (c *comparison) differs(own *kept, after *adapter.Answer) bool {
	if c == nil || c.before == nil {
		return false
	}
	c.once.Do(func() {
		other := differ(c.before, own.Answer, after)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.other = other
	})
	return c.found()
}

// found reports whether a comparison was made, and found a difference.
func (c *comparison) found() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.other
}

func differ(before, own, after *adapter.Answer) bool {
	if before.Code == after.Code && own.Code != before.Code {
		return true
	}
	if bytes.Equal(own.Body, before.Body) || bytes.Equal(own.Body, after.Body) {
		return false
	}
	b, ok := fields(before.Body)
	a, ok2 := fields(after.Body)
	o, ok3 := fields(own.Body)
	if !ok || !ok2 || !ok3 {
		return bytes.Equal(before.Body, after.Body)
	}
	for _, all := range []map[string]json.RawMessage{b, o} {
		for key := range all {
			if bytes.Equal(b[key], a[key]) && !bytes.Equal(o[key], b[key]) {
				return true
			}
		}
	}
	return false
}

// fields are the members of a JSON object, without space between tokens.
func fields(body []byte) (map[string]json.RawMessage, bool) {
	o, ok := object(body)
	if !ok {
		return nil, false
	}
	var all map[string]json.RawMessage
	err := json.Unmarshal(o.text, &all)
	return all, err == nil
}

// warnOfOther tells once for a job that polls are answered about another user's.
func (q *question) warnOfOther(a *admission) {
	if !a.between.found() {
		return
	}
	if _, told := q.server.warned.LoadOrStore(a.job, true); told {
		return
	}
	job, names := q.server.byName(a.job), separating(q.r.Header)
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == "Origin" || strings.HasPrefix(name, "X-Forwarded-") ||
			slices.ContainsFunc(job.CopyHeaders, func(copied string) bool { return strings.EqualFold(copied, name) })
	})
	attrs := []any{"job", a.job, "intent", a.id.String()}
	if len(names) > 0 {
		attrs = append(attrs, "add", "copy_headers "+strings.Join(names, " "))
	}
	q.server.Logger.WarnContext(q.r.Context(), "polls are answered otherwise than a client that may ask; it is given the backend's own answers only", attrs...)
}

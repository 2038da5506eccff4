//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// A customer sends the same credentials to whichever Caddy a balancer chooses.
type customer struct {
	f      *fleet
	header []string
}

// asks returns an answer whose body is to be read.
func (c *customer) asks(at *ship, method, path string, header ...string) *http.Response {
	c.f.t.Helper()
	r, err := http.NewRequestWithContext(c.f.t.Context(), method, "http://"+at.addr+path, nil)
	require.NoError(c.f.t, err)
	r.Host = "api.example.com"
	for all := append(c.header[:len(c.header):len(c.header)], header...); len(all) > 0; all = all[2:] {
		r.Header.Set(all[0], all[1])
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(c.f.t, err)
	c.f.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// status is what a job's own URL says.
func (c *customer) status(at *ship, job string) (code int, body string) {
	c.f.t.Helper()
	resp := c.asks(at, "GET", "/reports/status/"+job)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(c.f.t, err)
	return resp.StatusCode, string(text)
}

// frames follows a job's own URL as an EventSource does.
func (c *customer) frames(at *ship, job string) *sse.Reader {
	c.f.t.Helper()
	resp := c.asks(at, "GET", "/reports/status/"+job, "Accept", "text/event-stream", "Cache-Control", "no-cache")
	require.Equal(c.f.t, "text/event-stream", resp.Header.Get("Content-Type"))
	return sse.NewReader(resp.Body)
}

// until reads frames up to one that says something.
func until(t *testing.T, frames *sse.Reader, what string) sse.Frame {
	t.Helper()
	for {
		frame, err := frames.Next()
		require.NoError(t, err, "waiting for %s", what)
		if strings.Contains(frame.Data, what) {
			return frame
		}
	}
}

// takesOver has a ship poll an intent from now on.
func (f *fleet) takesOver(at *ship, id, job string) {
	f.t.Helper()
	since := time.Now()
	resp, err := http.Post("http://"+at.Admin+"/intents/"+id+"/poll", "", nil)
	require.NoError(f.t, err)
	resp.Body.Close()
	require.Less(f.t, resp.StatusCode, 300)
	require.Equal(f.t, at, f.poller(job, since))
}

// passed counts the requests for a status that clients themselves have cost the backend.
func (f *fleet) passed(job string) (n int) {
	for _, a := range f.backend.AskedFor("GET", "/reports/status/"+job) {
		if a.Header.Get("X-Replica") == "" {
			n++
		}
	}
	return n
}

// TestAJobsOwnURLsAreTheSameAtAllCaddys: the POST goes to a, c polls, and clients ask
// whichever they come to; then the one that polls is killed.
func TestAJobsOwnURLsAreTheSameAtAllCaddys(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, onRedis(redistest.Start(t)))
	a, b, c := f.all[0], f.all[1], f.all[2]
	id, job := f.submit(a)
	f.says(job, "begun", 10)
	f.takesOver(c, id, job)
	other := &customer{f, []string{"Cookie", "session=other"}}
	require.Eventually(t, func() bool { // once each is admitted, and knows of the polls
		before := f.passed(job)
		for range 5 {
			for _, at := range f.all {
				code, body := other.status(at, job)
				require.Equal(t, http.StatusOK, code)
				require.Contains(t, body, "begun")
			}
		}
		return f.passed(job) == before
	}, 60*time.Second, 50*time.Millisecond, "what c polls answers the clients of all")

	frames := other.frames(b, job)
	until(t, frames, "begun")
	f.says(job, "halfway", 50)
	until(t, frames, "halfway")
	for _, at := range f.all {
		require.Eventually(t, func() bool { _, body := other.status(at, job); return strings.Contains(body, "halfway") }, 30*time.Second, 20*time.Millisecond)
		code, in := f.get(at, id)
		require.Equal(t, http.StatusOK, code)
		require.NotEmpty(t, in["last_polled_at"], "of %s", at.name)
	}

	killed := time.Now()
	c.Kill()
	f.says(job, "after the kill", 60)
	for range 20 { // nobody polls yet
		for _, at := range []*ship{a, b} {
			code, body := other.status(at, job)
			require.Equal(t, http.StatusOK, code)
			require.Contains(t, body, `"status"`)
		}
	}
	require.NotEqual(t, c, f.poller(job, killed))
	until(t, frames, "after the kill")
	f.backend.Finishes(job)
	last := until(t, frames, `"done"`)
	for !strings.Contains(last.Data, "COMPLETED") {
		last = until(t, frames, `"done"`)
	}
	_, err := frames.Next()
	require.ErrorIs(t, err, io.EOF, "the stream ends as one that has told all")
	for _, at := range []*ship{a, b} {
		_, body := other.status(at, job)
		require.Contains(t, body, "done")
	}
}

func TestAllCaddysKnowWhoStartedAJob(t *testing.T) {
	f := newFleetBefore(t, new(counter), 3, onRedis(redistest.Start(t)), "copy_headers Authorization")
	a, b, c := f.all[0], f.all[1], f.all[2]
	alice, bob := &customer{f, []string{"Authorization", "Bearer alice"}}, &customer{f, []string{"Authorization", "Bearer bob"}}
	resp := alice.asks(a, "POST", "/reports/generate")
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	id := resp.Header.Get("Intent-Id")
	require.NotEmpty(t, id)
	hears := func() {
		for _, at := range []*ship{b, c, a} {
			for range 3 {
				code, body := alice.status(at, "1")
				require.Equal(t, http.StatusOK, code)
				require.Contains(t, body, "secret of alice")
				code, body = bob.status(at, "1")
				require.Equal(t, http.StatusForbidden, code)
				require.NotContains(t, body, "alice")
			}
			frame := until(t, alice.frames(at, "1"), "secret of alice")
			var said struct{ Intent struct{ ID string } }
			require.NoError(t, json.Unmarshal([]byte(frame.Data), &said))
			require.Equal(t, id, said.Intent.ID, "she is known at %s", at.name)
			refused := bob.asks(at, "GET", "/reports/status/1", "Accept", "text/event-stream", "Cache-Control", "no-cache")
			require.Equal(t, http.StatusForbidden, refused.StatusCode)
			text, err := io.ReadAll(refused.Body)
			require.NoError(t, err)
			require.NotContains(t, string(text), "alice")
		}
	}
	hears()
	b.Kill()
	b.Start()
	hears()
}

// TestACancelAtOneCaddyIsSeenAtAll is about a client that cancels where its request goes,
// and then asks wherever the next one does.
func TestACancelAtOneCaddyIsSeenAtAll(t *testing.T) {
	f := newFleet(t, 3, onRedis(redistest.Start(t)))
	a, b, c := f.all[0], f.all[1], f.all[2]
	_, job := f.submit(a)
	f.says(job, "begun", 10)
	client := &customer{f, []string{"Cookie", "session=client"}}
	for range 5 {
		for _, at := range f.all {
			client.status(at, job)
		}
	}
	resp := client.asks(b, "DELETE", "/reports/status/"+job)
	require.Less(t, resp.StatusCode, 300)
	canceled, _ := f.backend.Job(job)
	require.Equal(t, "cancelled", canceled.Status.State)
	for _, at := range []*ship{c, a, b} {
		require.Eventually(t, func() bool { _, body := client.status(at, job); return strings.Contains(body, "cancelled") }, 30*time.Second, time.Millisecond)
	}
}

// TestAJobFromElsewhereHasOneIntentAtAllCaddys is about a job that was submitted past us,
// and is followed at each of them at once.
func TestAJobFromElsewhereHasOneIntentAtAllCaddys(t *testing.T) {
	f := newFleet(t, 3, onRedis(redistest.Start(t)))
	resp, err := http.Post("http://"+f.to+"/reports/generate", "application/json", strings.NewReader(`{}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	var made struct {
		JobID string `json:"job_id"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&made))
	f.says(made.JobID, "begun", 10)
	streams := make([]*http.Response, len(f.all))
	var all sync.WaitGroup
	for i, at := range f.all {
		client := &customer{f, []string{"Cookie", "session=" + at.name}}
		all.Go(func() {
			streams[i] = client.asks(at, "GET", "/reports/status/"+made.JobID, "Accept", "text/event-stream", "Cache-Control", "no-cache")
		})
	}
	all.Wait()
	ids := make(map[string]bool)
	var frames []*sse.Reader
	for _, stream := range streams {
		require.Equal(t, "text/event-stream", stream.Header.Get("Content-Type"))
		frames = append(frames, sse.NewReader(stream.Body))
		var said struct{ Intent struct{ ID string } }
		require.NoError(t, json.Unmarshal([]byte(until(t, frames[len(frames)-1], "begun").Data), &said))
		ids[said.Intent.ID] = true
	}
	require.Len(t, ids, 1)
	f.says(made.JobID, "halfway", 50)
	for _, one := range frames {
		until(t, one, "halfway")
	}
	require.Len(t, f.pollers(made.JobID, time.Time{}), 1, "one of them polls")
	f.backend.Finishes(made.JobID)
	for _, one := range frames {
		until(t, one, "COMPLETED")
	}
}

// TestAnEventSourceAtAnotherCaddysStoreComesAgain is about two Caddys behind one balancer
// that share nothing.
func TestAnEventSourceAtAnotherCaddysStoreComesAgain(t *testing.T) {
	f := newFleet(t, 2, "store memory")
	a, b := f.all[0], f.all[1]
	id, _ := f.submit(a)
	client := &customer{f: f}
	resp := client.asks(b, "GET", "/v1/intents/"+id+"/events/stream", "Accept", "text/event-stream", "User-Agent", "curl/8.1")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	resp = client.asks(b, "GET", "/v1/intents/"+id+"/events/stream", "Accept", "text/event-stream", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	text, err := io.ReadAll(resp.Body)
	require.Error(t, err, "it is cut, so that nobody takes it for the end")
	require.Regexp(t, `^retry: ?\d+\n\n?$`, string(text))
	b.Log.Wait(t, "store redis")
	code, _ := f.get(b, id)
	require.Equal(t, http.StatusNotFound, code)
	resp = client.asks(a, "GET", "/v1/intents/"+id+"/events/stream", "Accept", "text/event-stream")
	frame, err := sse.NewReader(resp.Body).Next()
	require.NoError(t, err)
	require.Equal(t, "intent.created", frame.Event)
}

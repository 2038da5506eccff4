//go:build e2e

package caddymodule_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// oldClient submits and polls as a client does that never heard of intents, until its
// job is done. It returns how long the slowest of its requests took.
func (f *fleet) oldClient(at *ship) (slowest time.Duration) {
	f.t.Helper()
	asked := time.Now()
	_, resp, body := f.post(at)
	slowest = time.Since(asked)
	require.Equal(f.t, http.StatusAccepted, resp.StatusCode, body)
	_, job, ok := strings.Cut(body, `"job_id":"`)
	require.True(f.t, ok, body)
	job, _, _ = strings.Cut(job, `"`)
	for _, last := range []bool{false, true} {
		if last {
			f.backend.Finishes(job)
		}
		// An answer may be as old as the interval.
		require.Eventually(f.t, func() bool {
			asked := time.Now()
			resp, err := http.Get("http://" + at.addr + "/reports/status/" + job)
			require.NoError(f.t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(f.t, err)
			slowest = max(slowest, time.Since(asked))
			require.Equal(f.t, http.StatusOK, resp.StatusCode, "%s", text)
			return !last || strings.Contains(string(text), "done")
		}, 30*time.Second, 50*time.Millisecond)
	}
	return slowest
}

// intents waits until submits make intents again, at every ship.
func (f *fleet) intents() {
	f.t.Helper()
	for _, s := range f.all {
		require.Eventually(f.t, func() bool { id, _, _ := f.post(s); return id != "" }, 30*time.Second, 50*time.Millisecond)
	}
}

func TestARedisThatIsKilledAndComesBackCostsNoEvent(t *testing.T) {
	server := redistest.Start(t, "--appendfsync", "always")
	f := newFleet(t, 2, onRedis(server))
	a, b := f.all[0], f.all[1]
	id, job := f.submit(a)
	atA, atB := f.observe(id, a), f.observe(id, b)
	f.says(job, "begun", 10)
	atA.await("begun")
	atB.await("begun")
	for round := range 3 {
		server.Kill()
		slowest := f.oldClient(b)
		require.Less(t, slowest, 5*time.Second)
		f.says(job, "while it was away "+string(rune('a'+round)), 20+round)
		server.Restart(t)
		f.intents()
		atA.await("while it was away " + string(rune('a'+round)))
		atB.await("while it was away " + string(rune('a'+round)))
	}
	f.backend.Finishes(job)
	require.True(t, strings.HasSuffix(atA.saw(), "in_progress completed"))
	require.Equal(t, atA.saw(), atB.saw())
	require.Zero(t, atA.resets+atB.resets)
	require.Len(t, f.pollers(job, time.Time{}), 1, "nothing changed hands")
}

func TestARedisThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	f := newFleet(t, 2, onRedis(server))
	a, b := f.all[0], f.all[1]
	id, job := f.submit(a)
	watcher := f.observe(id, b)
	f.says(job, "begun", 10)
	watcher.await("begun")
	server.Pause(t)
	resumed := time.AfterFunc(time.Duration(soak.Number(t, "INTENTS_HANG", 8))*time.Second, func() { server.Resume(t) })
	defer resumed.Stop()
	first := f.oldClient(a)
	require.Less(t, first, 10*time.Second, "who comes first waits for the timeout")
	again := f.oldClient(a)
	require.Less(t, again, 3*time.Second, "less than one call to Redis may take")
	t.Logf("the slowest request of the first old client took %s, of the second %s", first.Round(time.Millisecond), again.Round(time.Millisecond))
	f.says(job, "while it hung", 20)
	f.intents()
	watcher.await("while it hung")
	f.backend.Finishes(job)
	require.True(t, strings.HasSuffix(watcher.saw(), "in_progress completed"))
	require.Zero(t, watcher.resets)
}

func TestCaddyStartsWithoutItsRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	f := newFleet(t, 1, onRedis(server))
	require.Less(t, f.oldClient(f.all[0]), 5*time.Second)
	server.Restart(t)
	f.intents()
	f.all[0].Log.Wait(t, "the store is open")
	id, job := f.submit(f.all[0])
	watcher := f.observe(id, f.all[0])
	f.backend.Finishes(job)
	require.True(t, strings.HasSuffix(watcher.saw(), "completed"))
}

func TestFlushingRedisLosesItsIntentsAndNothingElse(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, 2, onRedis(server))
	a, b := f.all[0], f.all[1]
	old, job := f.submit(a)
	f.poller(job, time.Time{})
	_, err := server.Do("FLUSHALL")
	require.NoError(t, err)
	code, _ := f.get(b, old)
	require.Equal(t, http.StatusNotFound, code)
	f.oldClient(a)
	id, other := f.submit(a)
	watcher := f.observe(id, b)
	f.backend.Finishes(other)
	require.True(t, strings.HasSuffix(watcher.saw(), "completed"))
	flushed := time.Now()
	<-time.After(time.Second)
	require.Empty(t, f.pollers(job, flushed), "it is nobody's any more")
}

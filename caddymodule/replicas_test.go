//go:build e2e

package caddymodule_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// says sets what a job answers, with a message that observers see.
func (f *fleet) says(job, message string, percent int) {
	f.backend.SaysAll(job, legacytest.Status{State: "running", Percent: percent, Step: message})
}

func TestThreeCaddysOnOneRedisAreOne(t *testing.T) {
	f := newFleet(t, 3, onRedis(redistest.Start(t)))
	a, b, c := f.all[0], f.all[1], f.all[2]
	id, job := f.submit(a)
	atB, atC := f.observe(id, b), f.observe(id, c)
	f.says(job, "halfway", 50)
	atB.await("halfway")
	atC.await("halfway")
	code, in := f.get(c, id)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, job, in["job_id"])
	f.backend.Finishes(job)
	require.Equal(t, "created submitted delivered in_progress in_progress completed", strings.Replace(atB.saw(), "in_progress in_progress in_progress", "in_progress in_progress", 1))
	require.Equal(t, atB.saw(), atC.saw())
	require.Len(t, f.pollers(job, time.Time{}), 1, "one of them polls")

	id, job = f.submit(a)
	r, err := http.NewRequest("DELETE", "http://"+b.addr+"/v1/intents/"+id, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	_, in = f.get(c, id)
	require.Equal(t, "CANCELED", in["status"])
	canceled, _ := f.backend.Job(job)
	require.Equal(t, "cancelled", canceled.Status.State)
}

func TestTheOthersTakeOverWhatAKilledCaddyPolled(t *testing.T) {
	t.Parallel() // it waits most of the time
	f := newFleet(t, 3, onRedis(redistest.Start(t)))
	a := f.all[0]
	var watchers []*lookout
	var jobs []string
	for range 20 {
		id, job := f.submit(a)
		f.says(job, "begun", 10)
		watchers, jobs = append(watchers, f.observe(id, a, f.all[1], f.all[2])), append(jobs, job)
	}
	for i, w := range watchers {
		w.await("begun")
		require.Equal(t, a, f.poller(jobs[i], time.Time{}))
	}
	killed := time.Now()
	a.Kill()
	var slowest time.Duration
	for _, job := range jobs {
		require.NotEqual(t, a, f.poller(job, killed))
		slowest = max(slowest, f.firstPoll(job, killed).Sub(killed))
	}
	t.Logf("the last of 20 was polled %s after the kill", slowest.Round(time.Millisecond))
	require.Less(t, slowest, 2*term)
	for i, job := range jobs {
		f.says(job, "went on", 60)
		watchers[i].await("went on")
		f.backend.Finishes(job)
		require.True(t, strings.HasSuffix(watchers[i].saw(), "in_progress completed"))
		require.Len(t, f.pollers(job, killed), 1, "two poll %s", job)
	}
}

// firstPoll is when a job was first polled after a moment.
func (f *fleet) firstPoll(job string, after time.Time) time.Time {
	for _, a := range f.backend.AskedFor("GET", "/reports/status/"+job) {
		if a.At.After(after) && a.Header.Get("X-Replica") != "" {
			return a.At
		}
	}
	return time.Now()
}

func TestACaddyThatWasPausedBeyondItsLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, onRedis(redistest.Start(t)))
	a, b := f.all[0], f.all[1]
	id, job := f.submit(a)
	watcher := f.observe(id, b)
	f.says(job, "begun", 10)
	watcher.await("begun")
	paused := time.Now()
	a.Pause()
	<-time.After(time.Second) // what was on its way arrives
	require.Equal(t, b, f.poller(job, paused.Add(time.Second)))
	f.says(job, "went on", 60)
	watcher.await("went on")
	a.Resume()
	a.Log.Wait(t, "somebody else holds what was held here")
	<-time.After(2 * time.Second) // ten intervals
	require.Zero(t, f.pollers(job, paused.Add(time.Second))[a.name], "it is polled by another")
	f.backend.Finishes(job)
	require.True(t, strings.HasSuffix(watcher.saw(), "in_progress completed"))
}

func TestAStoppedCaddyGivesBackWhatItPolledAtOnce(t *testing.T) {
	f := newFleet(t, 2, onRedis(redistest.Start(t)))
	a, b := f.all[0], f.all[1]
	id, job := f.submit(a)
	watcher := f.observe(id, a, b)
	f.says(job, "begun", 10)
	watcher.await("begun")
	a.Terminate()
	<-a.Exited
	stopped := time.Now()
	require.Equal(t, b, f.poller(job, stopped))
	took := f.firstPoll(job, stopped).Sub(stopped)
	t.Logf("polled again after %s", took.Round(time.Millisecond))
	require.Less(t, took, term)
	f.backend.Finishes(job)
	require.True(t, strings.HasSuffix(watcher.saw(), "in_progress completed"))
}

func TestEqualRequestsAtThreeCaddysMakeOneJob(t *testing.T) {
	f := newFleet(t, 3, onRedis(redistest.Start(t)))
	rounds := soak.Number(t, "INTENTS_EQUALS", 50)
	for round := range rounds {
		key := "key-" + time.Now().String()
		const each = 4
		ids := make([]string, each*len(f.all))
		before := len(f.backend.Jobs())
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				id, resp, body := f.post(f.all[i%len(f.all)], "Idempotency-Key", key)
				if resp.StatusCode != http.StatusAccepted {
					id = body
				}
				ids[i] = id
			})
		}
		all.Wait()
		for _, id := range ids {
			require.Equal(t, ids[0], id, "round %d", round)
		}
		require.Len(t, f.backend.Jobs(), before+1, "round %d", round)
	}
}

func TestCaddysOnAClusterAreOne(t *testing.T) {
	f := newFleet(t, 2, "store redis redis://"+strings.Join(redistest.Addrs(redistest.StartCluster(t)), " redis://")+" {\nmode cluster\n}")
	a, b := f.all[0], f.all[1]
	var watchers []*lookout
	var jobs []string
	for range 20 { // in many shards, and on each node
		id, job := f.submit(a)
		watchers, jobs = append(watchers, f.observe(id, b)), append(jobs, job)
	}
	for i, job := range jobs {
		f.says(job, "halfway", 50)
		watchers[i].await("halfway")
		f.backend.Finishes(job)
		require.True(t, strings.HasSuffix(watchers[i].saw(), "in_progress completed"))
		require.Len(t, f.pollers(job, time.Time{}), 1)
	}
}

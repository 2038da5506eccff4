//go:build e2e

package caddymodule_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
)

// A crowd is clients that go on submitting to a fleet, at any Caddy that is there, and
// the observers of what they submitted.
type crowd struct {
	f       *fleet
	over    chan struct{}
	clients sync.WaitGroup

	mu       sync.Mutex
	watchers []*lookout
}

// load lets a crowd loose on jobs that end after some polls.
func (f *fleet) load() *crowd {
	f.backend.EveryJobSays(legacytest.Status{State: "pending"}, legacytest.Status{State: "running", Percent: 20}, legacytest.Status{State: "running", Percent: 40},
		legacytest.Status{State: "running", Percent: 60}, legacytest.Status{State: "running", Percent: 80}, legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	c := &crowd{f: f, over: make(chan struct{})}
	for range 3 {
		c.clients.Go(c.submit)
	}
	return c
}

func (c *crowd) submit() {
	for n := 0; ; n++ {
		select {
		case <-c.over:
			return
		case <-time.After(50 * time.Millisecond):
		}
		// As a balancer does that tries the next one: nothing was sent to one that is away.
		all := c.f.all
		id, ok := c.f.tryPost([]errand{ordinary, steady}[n%2], all[n%len(all)])
		if !ok {
			continue
		}
		c.mu.Lock()
		c.watchers = append(c.watchers, c.f.observe(id, all[n%3], all[(n+1)%3], all[(n+2)%3]))
		c.mu.Unlock()
	}
}

// tryPost submits a job as a client of its own, if there is somebody to submit it to.
func (f *fleet) tryPost(e errand, at *ship) (id string, ok bool) {
	r, err := http.NewRequestWithContext(f.t.Context(), "POST", "http://"+at.addr+e.under+"/reports/generate", strings.NewReader(`{}`))
	if err != nil {
		panic(err)
	}
	r.Header.Set(legacytest.ClientHeader, rand.Text())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	return resp.Header.Get("Intent-Id"), resp.StatusCode == http.StatusAccepted
}

// leaves ends the crowd, waits for the ends of all that it submitted, and holds them
// against what the backend got.
func (c *crowd) leaves() (intents int, away time.Duration) {
	t := c.f.t
	t.Helper()
	close(c.over)
	c.clients.Wait()
	for _, w := range c.watchers {
		saw := w.saw()
		require.True(t, strings.HasPrefix(saw, "created submitted delivered in_progress"), saw)
		require.True(t, strings.HasSuffix(saw, "completed"), saw)
		require.Zero(t, w.resets)
		away = max(away, w.away)
	}
	for _, job := range c.f.backend.Jobs() {
		if job.Client != "" { // of the crowd
			require.Equal(t, 1, c.f.backend.Posts(job.Client))
		}
	}
	return len(c.watchers), away
}

// becomes replaces a Caddy by another release or another config, as an upgrade does.
func (f *fleet) becomes(s *ship, binary string, errands ...errand) {
	s.Terminate()
	<-s.Exited
	s.Binary = binary
	f.configure(s, f.storeLines, errands...)
	s.Start()
}

// A lasting is an intent whose job runs until it is finished.
type lasting struct {
	*lookout
	f   *fleet
	job string
}

func (f *fleet) lasting(e errand, at *ship) *lasting {
	id, job := f.submitFor(e, at)
	return &lasting{f.observe(id, f.all...), f, job}
}

// goesOn has the backend say something, waits until the observer gets it, and returns who
// polled meanwhile.
func (e *lasting) goesOn(message string) map[string]int {
	e.f.t.Helper()
	since := time.Now()
	e.f.says(e.job, message, 50)
	e.await(message)
	return e.f.pollers(e.job, since)
}

// sees waits until a Caddy tells its operator that an intent is parked, in all places, or
// that it is not.
func (f *fleet) sees(s *ship, e *lasting, job string, parked bool) {
	f.t.Helper()
	asked := map[string]string{
		"list --job " + job + " --limit 1000": e.id + ` +` + job + ` .*its job is in no config`,
		"show " + e.id:                        `by nobody who could poll it: job ` + job + ` is in no config`,
		"stats":                               `(?m)^` + job + ` .*not in the config`,
	}
	for words, want := range asked {
		require.Eventually(f.t, func() bool {
			out, err := s.Run(append(append([]string{"intents"}, strings.Fields(words)...), "--address", s.Admin)...)
			require.NoError(f.t, err, out)
			return regexp.MustCompile(want).MatchString(out) == parked
		}, time.Minute, 50*time.Millisecond, "caddy intents %s", words)
	}
	resp, err := http.Get("http://" + s.Admin + "/metrics")
	require.NoError(f.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	require.Equal(f.t, parked, regexp.MustCompile(`caddy_intents_parked{job="`+job+`",scope="default"} [1-9]`).Match(text))
}

// recorded is a field of an intent's hash in Redis.
func recorded(t *testing.T, server *redistest.Server, id, field string) string {
	t.Helper()
	answer, err := server.Do("EVAL", "return redis.call('HGET', redis.call('KEYS', '*i:' .. ARGV[1])[1], ARGV[2])", "0", id, field)
	require.NoError(t, err)
	return answer
}

// TestAnUpgradeUnderLoadLosesNothing has two releases on one Redis, of which the later one
// has other scripts, keeps more, and has a job by another name. The first is replaced by
// it and comes back, one Caddy after the other, while clients submit and observe.
func TestAnUpgradeUnderLoadLosesNothing(t *testing.T) {
	t.Parallel() // it waits most of the time
	next := buildCaddy(t, patched(t, nextRelease))
	server := redistest.Start(t)
	f := newFleet(t, 3, onRedis(server))
	for _, s := range f.all {
		f.becomes(s, "", ordinary, steady)
	}
	a, b, c := f.all[0], f.all[1], f.all[2]
	crowd := f.load()
	old := f.lasting(ordinary, a)
	old.goesOn("begun")

	f.becomes(a, next, renamed, steady)
	require.NotContains(t, old.goesOn("without a"), "a", "it has not the job")
	both, young := f.lasting(steady, a), f.lasting(renamed, a)
	require.Equal(t, []string{"a"}, keys(both.goesOn("begun by a")), "it polls what it accepts")
	require.Equal(t, []string{"a"}, keys(young.goesOn("begun by a")))
	at := f.lasting(steady, b)
	require.Equal(t, []string{"b"}, keys(at.goesOn("begun by b")), "and so does the other release")
	written := recorded(t, server, both.id, "next")
	require.NotEmpty(t, written)
	require.Contains(t, recorded(t, server, both.id, "o"), `"next":1`)
	require.Contains(t, recorded(t, server, both.id, "l"), `"next":1`)

	// The later release goes: what it made is the earlier one's to poll, but for the job
	// that only it knows.
	a.Terminate()
	<-a.Exited
	since := time.Now()
	require.NotContains(t, both.goesOn("taken over"), "a")
	require.Equal(t, written, recorded(t, server, both.id, "next"), "a field that the earlier release does not know stays")
	require.Contains(t, recorded(t, server, both.id, "o"), `"next":1`, "and what is written once")
	require.NotContains(t, recorded(t, server, both.id, "l"), `"next":1`, "what every change writes anew is of who changed it last")
	require.Empty(t, f.pollers(young.job, since))
	f.sees(b, young, "renamed", true)
	f.sees(b, old, "report", false)
	a.Start()
	require.Equal(t, []string{"a"}, keys(young.goesOn("a is back")))

	f.becomes(b, next, renamed, steady)
	require.Equal(t, []string{"c"}, keys(old.goesOn("the last that has it")))
	f.becomes(c, next, renamed, steady)
	since = time.Now()
	both.goesOn("all are new")
	young.goesOn("all are new")
	require.Empty(t, f.pollers(old.job, since), "nobody has its job")
	f.sees(a, old, "report", true)
	f.becomes(c, "", ordinary, steady)
	require.Equal(t, []string{"c"}, keys(old.goesOn("one went back")))

	for _, e := range []*lasting{old, both, young, at} {
		f.backend.Finishes(e.job)
		require.True(t, strings.HasSuffix(e.saw(), "completed"))
	}
	n, away := crowd.leaves()
	t.Logf("%d intents, all ended; the longest that a stream was away is %s", n, away.Round(time.Millisecond))
	require.NotZero(t, n)
	require.Less(t, away, 15*time.Second, "a client comes back at once, to another one")
}

func keys(by map[string]int) (names []string) {
	for name := range by {
		names = append(names, name)
	}
	return names
}

//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
)

// wrongClock is our source with another clock in place of the standard library's: its wall
// clock is by INTENTS_WALL_SHIFT seconds ahead, its monotonic clock goes as ever, as on a
// machine whose clock was never set. Only what is ours is changed; but only that dates what
// is stored.
func wrongClock(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{"internal/wrongclock/clock.go": wrongClockSource}
	var files []string
	for _, dir := range []string{"adapter", "caddymodule", "engine", "intent", "observe", "offload", "store", "store/*", "webhook", "internal/*"} {
		found, err := filepath.Glob("../" + dir + "/*.go")
		require.NoError(t, err)
		files = append(files, found...)
	}
	asks := regexp.MustCompile(`\btime\.(Now|Since|Until)\b`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if strings.HasSuffix(file, "_test.go") || !asks.Match(text) {
			continue
		}
		other := asks.ReplaceAllString(string(text), "wrongclock.$1")
		require.Equal(t, 1, strings.Count(other, "\nimport "), file)
		other = strings.Replace(other, "\nimport ", "\nimport \"github.com/caddy-intents/caddy-intents/internal/wrongclock\"\n\nimport ", 1)
		texts[filepath.ToSlash(strings.TrimPrefix(file, "../"))] = other + "\nvar _ time.Duration\n" // it may have asked for nothing else
	}
	require.Greater(t, len(texts), 20)
	return texts
}

const wrongClockSource = `package wrongclock

import (
	"os"
	"strconv"
	"time"
	"unsafe"
)

var shift, _ = strconv.ParseInt(os.Getenv("INTENTS_WALL_SHIFT"), 10, 64)

// Now is a time with a monotonic reading: its first word has the seconds of the wall from
// bit 30 on.
func Now() time.Time {
	t := time.Now()
	*(*uint64)(unsafe.Pointer(&t)) += uint64(shift) << 30
	return t
}

func Since(t time.Time) time.Duration { return Now().Sub(t) }
func Until(t time.Time) time.Duration { return t.Sub(Now()) }
`

// brief is a job that has no time.
var brief = errand{job: "brief", under: "/steady", lines: "deadline 20s"}

// apart returns two Caddys on one Redis, one whose clock is five minutes ahead and one
// whose clock is five minutes behind.
func apart(t *testing.T, binary, scopeLines string) *fleet {
	t.Helper()
	f := harbor(t, 2, onRedis(redistest.Start(t))+"\nretention 20s")
	f.scopeLines = scopeLines
	for i, s := range f.all {
		s.Binary, s.Env = binary, []string{"INTENTS_WALL_SHIFT=" + []string{"300", "-300"}[i]}
		f.configure(s, f.storeLines, ordinary, brief)
	}
	f.start()
	for _, s := range f.all {
		s.Log.Wait(t, "the clock of this machine, or that of Redis, is wrong")
	}
	return f
}

// dates are times of an intent as a Caddy tells them.
func (f *fleet) dates(at *ship, id string, names ...string) (dates []time.Time) {
	f.t.Helper()
	code, in := f.get(at, id)
	require.Equal(f.t, http.StatusOK, code)
	for _, name := range names {
		text, _ := in[name].(string)
		date, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(f.t, err, "%s of %v", name, in)
		dates = append(dates, date)
	}
	return dates
}

// ends returns how an intent has ended as soon as it has, and when it was seen.
func (f *fleet) ends(at *ship, id string) (status string, seen time.Time) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		_, in := f.get(at, id)
		status, _ = in["status"].(string)
		return status != "" && status != "IN_PROGRESS" && status != "DELIVERED"
	}, 2*time.Minute, 50*time.Millisecond)
	return status, time.Now()
}

// TestCaddysWhoseClocksAreTenMinutesApartAreOne has what one of them stores be polled,
// ended, repeated, shown, let be observed and removed by the other.
func TestCaddysWhoseClocksAreTenMinutesApartAreOne(t *testing.T) {
	t.Parallel() // it waits most of the time
	binary := buildCaddy(t, wrongClock(t))
	apart(t, binary, "owner {http.request.header.X-Owner}").letsObserve()
	f := apart(t, binary, "")
	for _, pair := range [][2]*ship{{f.all[0], f.all[1]}, {f.all[1], f.all[0]}} {
		maker, heir := pair[0], pair[1]
		f.inherits(maker, heir)
		maker.Start()
	}
	ended, job := f.submit(f.all[1])
	finished := time.Now()
	f.backend.Finishes(job)
	f.ends(f.all[0], ended)
	require.Eventually(t, func() bool {
		code, _ := f.get(f.all[0], ended)
		return code == http.StatusNotFound
	}, 3*time.Minute, 100*time.Millisecond)
	kept := time.Since(finished)
	t.Logf("kept for %s after its end", kept.Round(time.Second))
	require.Greater(t, kept, 20*time.Second, "whoever removes it")
}

// inherits kills a Caddy that has made intents, and holds what the other makes of them
// against what it would be had both clocks been right.
func (f *fleet) inherits(maker, heir *ship) {
	t := f.t
	t.Helper()
	begun := time.Now()
	var long, short []*lasting
	for range 10 {
		long = append(long, f.lasting(ordinary, maker))
		short = append(short, f.lasting(brief, maker))
	}
	for _, l := range long {
		require.Equal(t, []string{maker.name}, keys(l.goesOn("begun")), "by one, and not by both")
	}
	key := "key-" + maker.name
	first, _, _ := f.post(maker, "Idempotency-Key", key)
	again, resp, _ := f.post(heir, "Idempotency-Key", key)
	require.Equal(t, first, again)
	require.Equal(t, "true", resp.Header.Get("Idempotency-Replayed"))
	require.Equal(t, f.dates(maker, first, "created_at"), f.dates(heir, first, "created_at"))
	require.WithinDuration(t, time.Now(), f.dates(heir, first, "created_at")[0], time.Minute, "the time of Redis, not that of the Caddy")

	maker.Kill()
	killed := time.Now()
	for _, l := range long {
		require.Equal(t, heir, f.poller(l.job, killed))
		require.Less(t, f.firstPoll(l.job, killed).Sub(killed), term+10*time.Second)
	}
	for _, l := range short {
		status, seen := f.ends(heir, l.id)
		require.Equal(t, "TIMED_OUT", status)
		require.GreaterOrEqual(t, seen.Sub(begun), 20*time.Second, "not before its deadline")
	}
	took := time.Since(begun)
	t.Logf("made by %s: the last of 10 with 20 s to live ended after %s, by %s", maker.name, took.Round(time.Millisecond), heir.name)
	require.Less(t, took, 2*time.Minute, "and not minutes after it")
	for _, l := range long {
		require.Equal(t, []string{heir.name}, keys(l.goesOn("went on")))
		f.backend.Finishes(l.job)
		require.True(t, strings.HasSuffix(l.saw(), "completed"))
		last := begun.Add(-time.Minute)
		for _, e := range l.events {
			require.False(t, e.At.Before(last), "event %d", e.Seq)
			require.WithinDuration(t, begun, e.At, 3*time.Minute)
			last = e.At
		}
	}
}

// letsObserve has each of two Caddys make a URL with a token that the other looks at.
func (f *fleet) letsObserve() {
	t := f.t
	t.Helper()
	for _, pair := range [][2]*ship{{f.all[0], f.all[1]}, {f.all[1], f.all[0]}} {
		_, _, body := f.post(pair[0], "X-Owner", "kim", legacytest.ClientHeader, "kim")
		var said struct {
			URL string `json:"observe_url"`
		}
		require.NoError(t, json.Unmarshal([]byte(body), &said), body)
		_, path, found := strings.Cut(said.URL, "/v1/")
		require.True(t, found && strings.Contains(path, "token="), body)
		resp, err := http.Get("http://" + pair[1].addr + "/v1/" + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
}

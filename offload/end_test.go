package offload_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// perUser is a backend that counts the jobs of each user from 1, and lets who is
// nobody see everything if everything is one user's.
type perUser struct {
	mu    sync.Mutex
	state map[string]string // of job 1, by the user in the cookie
}

func (b *perUser) says(user, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state[user] = state
}

func (b *perUser) answer(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	state := maps.Clone(b.state)
	b.mu.Unlock()
	user := strings.TrimPrefix(r.Header.Get("Cookie"), "user=")
	if shared, ok := state["everybody"]; ok {
		user, state = "everybody", map[string]string{"everybody": shared}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"job_id":"1","status":"pending"}`)
	case state[user] == "":
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"who are you?"}`)
	default:
		fmt.Fprintf(w, `{"job_id":"1","status":%q,"of":%q}`, state[user], user)
	}
}

// The maker has submitted job 1, the others ask for its status URL. Whoever follows it
// is told of an end when the job that the backend shows them has ended, and not before.
func TestAStreamEndsWithTheEndOfTheJobThatItsClientMeans(t *testing.T) {
	for _, c := range []struct {
		name   string
		copied bool // polls carry the maker's cookie, and without it the backend tells nothing
		client string
		owner  string // of the client; "maker" is the intent's, "" is without owners
		shared bool   // the backend has one job 1 for all
	}{
		{"the maker, and polls that carry nothing", false, "maker", "", true},
		{"the maker, and polls that carry its cookie", true, "maker", "", false},
		{"the owner that made it, and polls that carry its cookie", true, "maker", "maker", false},
		{"the owner elsewhere, and polls that carry nothing", false, "tablet", "maker", true},
		{"the owner elsewhere, and polls that carry a cookie", true, "tablet", "maker", true},
		{"the owner elsewhere, with a job of its own by the same id", true, "tablet", "maker", false},
		{"somebody else, and polls that carry nothing", false, "other", "", true},
		{"somebody else, and polls that carry a cookie", true, "other", "", true},
		{"another owner, and polls that carry nothing", false, "other", "other", true},
		{"another owner, and polls that carry a cookie", true, "other", "other", true},
		{"another owner, with a job of its own by the same id", true, "other", "other", false},
	} {
		for _, asked := range []string{"asked before", "asked never"} {
			for _, opened := range []string{"while it runs", "after the end"} {
				for _, process := range []string{"one process", "a restart before the end", "a restart after the end"} {
					for _, end := range []string{"told by a poll", "told to the maker"} {
						if end == "told to the maker" && process != "one process" {
							continue // nobody is the maker any more
						}
						t.Run(strings.Join([]string{c.name, asked, opened, process, end}, "/"), func(t *testing.T) {
							inBubble(t, func(tt *tester) {
								backend := &perUser{state: map[string]string{"maker": "running", c.client: "running"}}
								if c.shared {
									backend.state = map[string]string{"everybody": "running"}
								}
								tt.backend.atTheDoor(backend.answer)
								maker, client := tt.client("Cookie", "user=maker"), tt.client("Cookie", "user="+c.client)
								if c.owner != "" {
									maker.who.Owners, client.who.Owners = []string{"maker"}, []string{c.owner}
								}
								maker.submit()
								maker.get("1")
								if asked == "asked before" {
									client.get("1")
								}
								tt.passes(3 * time.Second)
								if process == "a restart before the end" {
									tt.restarts()
								}
								var l *listener
								if opened == "while it runs" {
									l = client.begins("1")
									tt.passes(4 * time.Second)
								}
								switch {
								case c.shared:
									backend.says("everybody", "done")
								default:
									backend.says("maker", "done")
								}
								if end == "told to the maker" {
									tt.passes(500 * time.Millisecond)
									maker.get("1")
								}
								tt.passes(3 * time.Second)
								if process == "a restart after the end" {
									tt.restarts()
								}
								ends := c.shared || c.client == "maker"
								wantTold(tt, client, l, ends)
								if !ends { // its own job goes on, and ends later
									backend.says(c.client, "done")
									tt.passes(6 * time.Second)
									wantTold(tt, client, nil, true)
								}
							}, func(tt *tester) {
								if c.copied {
									tt.job.CopyHeaders = []string{"Cookie"}
								}
							})
						})
					}
				}
			}
		}
	}
}

// wantTold follows as an EventSource does, which comes back after a cut, and wants the
// stream to end with the end if the job has ended, and else to go on.
func wantTold(tt *tester, c *client, l *listener, ended bool) {
	tt.t.Helper()
	for range 3 {
		if l == nil || l.cut() {
			l = c.begins("1")
			tt.passes(4 * time.Second)
		}
	}
	require.False(tt.t, l.cut(), "it comes to no end: %s", l.w.text())
	if l.w.header.Get("Content-Type") != "text/event-stream" { // the backend's own answer, which is how it is
		require.True(tt.t, l.over())
		return
	}
	for _, frame := range l.frames() {
		require.Contains(tt.t, []any{strings.TrimPrefix(c.header.Get("Cookie"), "user="), "everybody"}, frame["of"])
	}
	require.Equal(tt.t, ended, l.over(), l.w.text())
	require.Equal(tt.t, map[bool]any{true: "done", false: "running"}[ended], l.last()["status"])
	l.leave()
	synctest.Wait()
}

func TestAStreamHasTheWordsOfItsClientsOtherTab(t *testing.T) {
	inBubble(t, func(tt *tester) {
		c := tt.client()
		job := c.runs(10)
		l := c.listens(job).wantStream()
		tt.passes(2500 * time.Millisecond)
		tt.backend.Finishes(job)
		c.get(job, "Accept", "text/html") // goes through, and ends the intent
		require.True(t, l.over())
		require.Equal(t, "done", l.last()["status"])
	})
}

func TestAnEndThatTheBackendHasNoWordsForIsToldByTheIntent(t *testing.T) {
	for name, c := range map[string]struct {
		ends   func(tt *tester, job string)
		status string
	}{
		"its deadline": {func(tt *tester, _ string) { tt.passes(time.Minute) }, "TIMED_OUT"},
		"too long an answer": {func(tt *tester, job string) {
			long := `{"status":"done","rows":"` + strings.Repeat("x", 64<<10) + `"}`
			tt.backend.Meets(legacytest.Polls, legacytest.Body("application/json", long), legacytest.Always)
			tt.passes(4 * time.Second)
		}, "COMPLETED"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(tt *tester) {
				maker, other := tt.client("Cookie", "maker"), tt.client("Cookie", "other")
				maker.who.Owners, other.who.Owners = []string{"maker"}, []string{"other"}
				job := maker.runs(10)
				told, untold := maker.listens(job), other.begins(job)
				tt.passes(4 * time.Second)
				told.wantStream()
				untold.wantStream()
				c.ends(tt, job)
				require.True(t, told.over())
				require.Equal(t, c.status, told.last()["intent"].(map[string]any)["status"])
				require.True(t, untold.cut(), "running is no end: %s", untold.w.text())
			}, func(tt *tester) { tt.job.Deadline = 30 * time.Second })
		})
	}
}

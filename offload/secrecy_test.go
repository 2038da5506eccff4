package offload_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// The ways in which the backend can tell two users apart.
var kinds = map[string]func(tt *tester, user string) *client{
	"a cookie":       func(tt *tester, user string) *client { return tt.client("Cookie", "session="+user) },
	"a bearer token": func(tt *tester, user string) *client { return tt.client("Authorization", "Bearer "+user) },
	"an api key":     func(tt *tester, user string) *client { return tt.client("X-Api-Key", user) },
	"a certificate": func(tt *tester, user string) *client {
		c := tt.client()
		c.cert = user
		return c
	},
	"an address": func(tt *tester, user string) *client {
		c := tt.client()
		c.addr = map[string]string{"alice": "203.0.113.1:5", "bob": "203.0.113.2:5"}[user]
		return c
	},
}

// userOf is what the backend makes of a request; "" for a poll of ours.
func userOf(r *http.Request) string {
	said := r.Header.Get("Cookie") + r.Header.Get("Authorization") + r.Header.Get("X-Api-Key") + r.RemoteAddr
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		said += string(r.TLS.PeerCertificates[0].Raw)
	}
	for user, mark := range map[string]string{"alice": "203.0.113.1:", "bob": "203.0.113.2:"} {
		if strings.Contains(said, user) || strings.Contains(said, mark) {
			return user
		}
	}
	return ""
}

func both(t *testing.T, test func(tt *tester, alice, bob *client), configure ...func(*tester)) {
	for name, as := range kinds {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(tt *tester) { test(tt, as(tt, "alice"), as(tt, "bob")) }, configure...)
		})
	}
}

func TestWhoTheBackendRefusesSeesNothing(t *testing.T) {
	both(t, func(tt *tester, alice, bob *client) {
		_, job := alice.submit()
		tt.backend.Says(job, "alices-secret", 42)
		tt.backend.atTheDoor(func(w http.ResponseWriter, r *http.Request) {
			if userOf(r) == "bob" {
				http.Error(w, `{"error":"not yours"}`, http.StatusForbidden)
			}
		})
		stream := alice.listens(job).wantStream()
		for range 5 {
			require.Contains(t, alice.get(job).Body.String(), "alices-secret")
			require.Equal(t, http.StatusForbidden, bob.get(job).Code)
			require.Equal(t, http.StatusForbidden, bob.get(job, "If-None-Match", "*").Code)
			head := bob.do("HEAD", "/reports/status/"+job)
			require.Equal(t, http.StatusForbidden, head.Code)
			l := bob.listens(job)
			l.wantEnd()
			require.Equal(t, http.StatusForbidden, l.w.code)
			require.NotContains(t, l.w.text(), "alices-secret")
			tt.passes(time.Second)
		}
		require.NotEmpty(t, stream.frames())
	})
}

func TestWhoLosesTheRightSeesNothingAfterAMinute(t *testing.T) {
	both(t, func(tt *tester, alice, bob *client) {
		job := alice.runs(42)
		require.Equal(t, 200, bob.get(job).Code)
		tt.backend.atTheDoor(func(w http.ResponseWriter, r *http.Request) {
			if userOf(r) == "bob" {
				w.WriteHeader(http.StatusForbidden)
			}
		})
		tt.passes(61 * time.Second)
		for range 3 {
			require.Equal(t, http.StatusForbidden, bob.get(job).Code)
		}
	})
}

// ofEachUser is a backend where everybody has a job 1, and nobody is told nothing.
func ofEachUser(w http.ResponseWriter, r *http.Request) {
	user := userOf(r)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case user == "" || r.Header.Get("User-Agent") == "caddy-intents" && strings.Contains(r.RemoteAddr, "203.0.113.") && r.Header.Get("Cookie")+r.Header.Get("Authorization")+r.Header.Get("X-Api-Key") == "":
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == "POST":
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"job_id":"1","status":"pending"}`))
	default:
		_, _ = w.Write([]byte(`{"job_id":"1","status":"running","step":"secret of ` + user + `"}`))
	}
}

// TestJobsOfTwoUsersMayHaveOneURL is about a backend that counts the jobs of each user
// from 1. Both get a 200 at the same URL, for two jobs.
func TestJobsOfTwoUsersMayHaveOneURL(t *testing.T) {
	for name, configure := range map[string]func(*tester){
		"polls carry nothing":         func(*tester) {},
		"polls carry the submitter's": func(tt *tester) { tt.job.CopyHeaders = []string{"Cookie", "Authorization", "X-Api-Key"} },
		"and one owner has both":      func(tt *tester) { tt.job.CopyHeaders = []string{"Cookie", "Authorization", "X-Api-Key"} },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(tt *tester, alice, bob *client) {
				oneOwner := name == "and one owner has both"
				if oneOwner {
					for _, c := range []*client{alice, bob} {
						c.who.Owners = []string{"acme"}
					}
				}
				tt.backend.atTheDoor(ofEachUser)
				first, _ := alice.submit()
				second, _ := bob.submit()
				var streams []*listener
				for range 4 {
					for user, c := range map[string]*client{"alice": alice, "bob": bob} {
						require.Contains(t, c.get("1").Body.String(), "secret of "+user)
						require.Contains(t, c.get("1").Body.String(), "secret of "+user)
						l := c.listens("1")
						tt.passes(4 * time.Second) // it may wait for a poll
						require.NotContains(t, l.w.text(), "secret of "+map[string]string{"alice": "bob", "bob": "alice"}[user])
						if oneOwner {
							// the intents of both are its own
						} else if c == alice {
							require.NotContains(t, l.w.text(), second.String(), "an id grants reading")
						} else {
							require.NotContains(t, l.w.text(), first.String(), "an id grants reading")
						}
						streams = append(streams, l)
					}
				}
				for id, stranger := range map[intent.ID]string{first: "bob", second: "alice"} {
					_, events, err := tt.store.Events(t.Context(), id, 0)
					require.NoError(t, err)
					text, err := json.Marshal(events)
					require.NoError(t, err)
					require.NotContains(t, string(text), "secret of "+stranger)
				}
				for _, l := range streams {
					l.leave()
				}
			}, configure)
		})
	}
}

func TestNobodySeesAnothersJobByAdoptingIt(t *testing.T) {
	both(t, func(tt *tester, alice, bob *client) {
		tt.backend.Says("7", "alices-secret", 1)
		tt.backend.atTheDoor(func(w http.ResponseWriter, r *http.Request) {
			if userOf(r) == "bob" {
				w.WriteHeader(http.StatusNotFound)
			}
		})
		l := bob.listens("7")
		l.wantEnd()
		require.Equal(t, http.StatusNotFound, l.w.code)
		_, err := tt.store.ByJob(t.Context(), store.JobKey{Scope: "default", StatusURL: "/reports/status/7"})
		require.ErrorIs(t, err, store.ErrNotFound, "a refusal makes no intent")
		alice.listens("7").wantStream()
		l = bob.listens("7")
		l.wantEnd()
		require.Equal(t, http.StatusNotFound, l.w.code)
		require.NotContains(t, l.w.text(), "alices-secret")
	})
}

func TestEveryHeaderThatMayIdentifySeparates(t *testing.T) {
	separating := []string{
		"Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X-Auth-Token", "X-Tenant", "X-User", "X-Forwarded-User",
		"Remote-User", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-Ip", "Cf-Connecting-Ip", "X-Client-Cert",
		"X-Forwarded-Client-Cert", "Origin", "Via", "X-Csrf-Token", "X-Requested-With", "Prefer", "Baggage", "X-Amz-Security-Token", "Dpop", "Signature",
		"Sec-Websocket-Protocol", "From", "Date", "Api-Version", "X-Anything-At-All",
	}
	same := []string{
		"Accept", "Accept-Language", "Accept-Encoding", "Cache-Control", "Pragma", "Referer", "User-Agent", "Sec-Fetch-Mode", "Sec-Ch-Ua",
		"Traceparent", "Tracestate", "X-Request-Id", "X-Trace-Id", "Last-Event-Id", "Content-Type", "If-None-Match", "If-Modified-Since", "Dnt", "Priority",
	}
	inBubble(t, func(tt *tester) {
		job := tt.client().polls(1)
		asks := func(header ...string) bool {
			before := tt.backendAsked(job)
			tt.client().get(job, header...)
			return tt.backendAsked(job) > before
		}
		for _, name := range separating {
			require.True(t, asks(name, "a"), name)
			require.True(t, asks(name, "b"), name)
			require.False(t, asks(name, "a"), "%s: the same again", name)
		}
		require.False(t, asks())
		for _, name := range same {
			value := map[string]string{"Accept": "application/json"}[name]
			if value == "" {
				value = "a"
			}
			require.False(t, asks(name, value), name)
		}
	})
}

func TestTwoValuesOfOneHeaderAreNotOneValue(t *testing.T) {
	inBubble(t, func(tt *tester) {
		job := tt.client().runs(1)
		for i, values := range [][]string{{"a", "b"}, {"a, b"}, {"b", "a"}, {"ab"}} {
			c := tt.client()
			c.header["X-Api-Key"] = values
			tt.costs(job, 1, func() { c.get(job) }, i)
		}
	})
}

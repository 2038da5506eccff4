package observe

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

func TestIntentIsToldAsItStands(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		last, next := time.Now().Add(-time.Second), time.Now().Add(time.Second)
		tt.configure(Config{Pacing: pace{Last: last, Next: next, Failures: 2, Failing: last, DownSince: last}})
		job := tt.begins()
		half := 50.0
		job.reads(intent.Reading{Status: intent.InProgress, Progress: &half, Message: "halfway", UnknownState: "crunching"})
		w := tt.get(job.path())
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
		require.Equal(t, map[string]any{"ok": true, "intent": map[string]any{
			"intent_id": job.in.ID.String(), "status": "IN_PROGRESS", "lifecycle_status": "IN_PROGRESS",
			"intent_type": "report", "job": "report", "job_id": "job-1",
			"created_at": at(job.in.Created), "updated_at": at(job.in.Updated), "deadline_at": at(job.in.Deadline),
			"progress": 50.0, "message": "halfway", "unknown_state": "crunching",
			"last_polled_at": at(last), "next_poll_at": at(next), "poll_failures": 2.0,
			"failing_since": at(last), "backend_down_since": at(last), "waiting": "backend", "unchanged_since": at(job.in.Moved), "last_seq": 4.0,
			"observe_url": job.stream(),
		}}, decode(t, w))
	})
}

func TestEndedIntentTellsItsResultAndNothingAboutPolling(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Pacing: pace{Last: time.Now(), Next: time.Now(), Failures: 2}})
		told := decode(t, tt.get(tt.runsThrough().path()))["intent"].(map[string]any)
		require.Equal(t, "COMPLETED", told["lifecycle_status"])
		require.Equal(t, map[string]any{"url": "/report.pdf"}, told["result"])
		require.NotContains(t, told, "next_poll_at")
	})
}

func TestFailedIntentTellsWhy(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		why := &intent.Error{Code: intent.CodeDeadline, Message: "too late", Category: intent.ByDeadline, Retryable: true}
		job.stores(job.in.End(intent.TimedOut, intent.Details{Error: why}, time.Now()))
		told := decode(t, tt.get(job.path()))["intent"].(map[string]any)
		require.Equal(t, "TIMED_OUT", told["status"])
		require.Equal(t, map[string]any{
			"code": "deadline_exceeded", "message": "too late", "category": "deadline", "retryable": true,
		}, told["error"])
	})
}

func TestAnIntentIsPresentedToWhoMadeIt(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		r := request(http.MethodPost, "/reports", nil)
		w := httptest.NewRecorder()
		tt.server.Present(w, r.WithContext(WithPrefix(r.Context(), "/api")), &job.in)
		require.Equal(t, http.StatusAccepted, w.Code)
		require.Equal(t, "/api"+job.path(), w.Header().Get("Location"))
		require.Equal(t, job.in.ID.String(), decode(t, w)["intent"].(map[string]any)["intent_id"])
	})
}

func TestURLsCarryTheStrippedPrefix(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Path: "/jobs/intents/"})
		job := tt.begins()
		r := httptest.NewRequest(http.MethodGet, "/jobs/intents/"+job.in.ID.String(), nil)
		w := httptest.NewRecorder()
		tt.server.ServeHTTP(w, r.WithContext(WithPrefix(r.Context(), "/api")))
		told := decode(t, w)["intent"].(map[string]any)
		require.Equal(t, "/api/jobs/intents/"+job.in.ID.String()+"/events/stream", told["observe_url"])
	})
}

func TestEventsAreListedAfterTheCursor(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins(func(in *intent.Intent) { in.Generation = 2 })
		seqs := func(query string) (seqs []int64) {
			var answer struct {
				OK     bool
				Events []wireEvent
			}
			w := tt.get(job.path() + "/events" + query)
			require.Equal(t, http.StatusOK, w.Code)
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
			require.True(t, answer.OK)
			for _, e := range answer.Events {
				seqs = append(seqs, e.Seq)
			}
			return seqs
		}
		require.Equal(t, []int64{1, 2, 3}, seqs(""))
		require.Equal(t, []int64{1, 2, 3}, seqs("?since=0"))
		require.Equal(t, []int64{2, 3}, seqs("?since=1"))
		require.Equal(t, []int64{3}, seqs("?since=2050"))
		require.Equal(t, []int64{1, 2, 3}, seqs("?since=1026"), "of a log that lost its tail")
		require.Empty(t, seqs("?since=3"))
		require.Empty(t, seqs("?since=5000"))
		require.JSONEq(t, `{"ok":true,"events":[]}`, tt.get(job.path()+"/events?since=3").Body.String())
		require.Equal(t, http.StatusBadRequest, tt.get(job.path()+"/events?since=x").Code)
	})
}

func TestStreamIsServedToWhoAsksForIt(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.runsThrough()
		for accept, stream := range map[string]bool{
			"":                                    false,
			"*/*":                                 false,
			"application/json":                    false,
			"text/*":                              false,
			"garbage;;":                           false,
			"text/event-stream":                   true,
			"Text/Event-Stream;charset=utf-8":     true,
			"text/event-stream, */*":              true,
			"application/json, text/event-stream": true,
			"application/json, text/event-stream;q=1":  true,
			"text/event-stream;q=0.5, text/html;q=0.2": true,
			"application/json, text/event-stream;q=.9": false,
			"text/event-stream;q=0":                    false,
		} {
			w := tt.get(job.path()+"/events", "Accept", accept)
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "Accept", w.Header().Get("Vary"))
			require.Equal(t, stream, w.Header().Get("Content-Type") == "text/event-stream", accept)
		}
	})
}

func TestWhateverIsNotThereIsTheSame404(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		foreign := tt.begins(func(in *intent.Intent) { in.Scope = "other" })
		reserved := intent.Intent{ID: intent.NewID(time.Now(), 0), Origin: intent.Origin{Scope: "default"}}
		_, err := tt.store.Reserve(t.Context(), reserved)
		require.NoError(t, err)
		unknown := intent.NewID(time.Now(), 0).String()
		want := tt.get("/v1/intents/" + unknown)
		require.Equal(t, http.StatusNotFound, want.Code)
		require.JSONEq(t, `{"ok":false,"type":"about:blank","title":"Not Found","status":404,"detail":"no such intent",
			"error":{"code":"not_found","message":"no such intent","details":{}}}`, want.Body.String())
		for _, id := range []string{unknown, foreign.in.ID.String(), reserved.ID.String(), "x", "%00", "%F0", ".."} {
			for _, below := range []string{"", "/events", "/events/stream"} {
				w := tt.get("/v1/intents/" + id + below)
				require.Equal(t, want.Code, w.Code, id+below)
				require.Equal(t, want.Body.String(), w.Body.String(), id+below)
				require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			}
		}
	})
}

func TestMethodsAndURLsThatAreNotServed(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		for path, allow := range map[string]string{
			job.path():              "DELETE, GET, HEAD",
			job.path() + "/resolve": "POST",
			job.path() + "/events":  "GET, HEAD",
			job.stream():            "GET, HEAD",
		} {
			for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"} {
				if strings.Contains(allow, method) {
					continue
				}
				w := tt.asks(method, path)
				require.Equal(t, http.StatusMethodNotAllowed, w.Code)
				require.Equal(t, allow, w.Header().Get("Allow"))
				require.Equal(t, "method_not_allowed", problemCode(t, w))
			}
		}
		for _, path := range []string{"/v1/intents/a/b", job.stream() + "/more", job.path() + "/", job.path() + "//events"} {
			w := tt.get(path)
			require.Equal(t, http.StatusNotFound, w.Code, path)
			require.Equal(t, "not_found", problemCode(t, w))
		}
	})
}

func TestHeadHasTheHeadOfGet(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		for _, path := range []string{job.path(), job.path() + "/events", "/v1/intents/x"} {
			get, head := tt.get(path), tt.asks(http.MethodHead, path)
			require.Equal(t, get.Code, head.Code)
			require.Equal(t, get.Header(), head.Header())
			require.Empty(t, head.Body.Bytes())
		}
	})
}

func TestStoreTroubleIsToldWithoutItsWords(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		for err, status := range map[error]int{
			store.ErrUnavailable:               http.StatusServiceUnavailable,
			errors.New("/var/lib/secret/path"): http.StatusInternalServerError,
		} {
			tt.store.set(func() { tt.store.err = err })
			w := tt.get(job.path())
			require.Equal(t, status, w.Code)
			require.Equal(t, status == http.StatusServiceUnavailable, w.Header().Get("Retry-After") != "")
			require.NotContains(t, w.Body.String(), "secret")
		}
		tt.store.set(func() { tt.store.err = nil })
	})
}

func TestAskingForAnIntentKeepsItWatchedForAWhile(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		tt.get(job.path())
		require.Equal(t, []time.Time{time.Now().Add(glance)}, tt.store.told())
		ended := tt.runsThrough()
		before := len(tt.store.told())
		tt.get(ended.path())
		tt.get(ended.path() + "/events")
		require.Len(t, tt.store.told(), before)
	})
}

func TestHubKeepsOthersSeatedWhenOneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tt := newTester(t, Config{})
		id, other := intent.NewID(time.Now(), 0), intent.NewID(time.Now(), 0)
		parties := Limits{All: 10, PerOwner: 10, PerIntent: 10}
		var seats []*party
		for range 5 {
			s, err := tt.hub.join([]intent.ID{id}, "", parties)
			require.NoError(t, err)
			seats = append(seats, s)
		}
		stranger, err := tt.hub.join([]intent.ID{other}, "", parties)
		require.NoError(t, err)
		for _, gone := range []int{1, 4, 0} {
			tt.hub.leave(seats[gone])
			seats[gone] = nil
			for range 3 { // ringing again while nobody answers does not block
				tt.hub.hear(store.Signal{ID: id, Kind: store.Appended})
			}
			for _, s := range seats {
				if s != nil {
					require.Len(t, s.bell, 1)
					<-s.bell
				}
			}
			require.Empty(t, stranger.bell)
		}
		for _, s := range []*party{seats[2], seats[3], stranger} {
			tt.hub.leave(s)
		}
		require.Empty(t, tt.hub.rooms)
		require.Empty(t, tt.hub.owners)
		tt.hub.Close()
		tt.hub.Close()
	})
}

type pace Pace

func (p pace) Pace(intent.ID) Pace              { return Pace(p) }
func (p pace) Await(context.Context, intent.ID) {}

func decode(t *testing.T, w *httptest.ResponseRecorder) (v map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v), "%s", w.Body)
	return v
}

func problemCode(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	return decode(t, w)["error"].(map[string]any)["code"].(string)
}

func TestAPayloadIsToldAsItCameOrNotAtAll(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins(func(in *intent.Intent) {
			in.Envelope, in.Captured, in.Closed, in.Request = new(intent.Envelope), true, true, []byte("\x01sealed")
		})
		tt.configure(Config{OpenBody: func(*intent.Intent) ([]byte, error) { return []byte(`{"a":1}`), nil }})
		require.Contains(t, tt.get(job.path()).Body.String(), `"payload":{"a":1}`)
		for _, unable := range []OpenBody{nil, func(*intent.Intent) ([]byte, error) { return nil, errors.New("another secret") }} {
			tt.configure(Config{OpenBody: unable})
			w := tt.get(job.path())
			require.Equal(t, http.StatusOK, w.Code)
			require.NotContains(t, w.Body.String(), "payload")
		}
	})
}

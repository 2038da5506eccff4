package observe

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// posts sends JSON.
func (tt *tester) posts(target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	tt.server.ServeHTTP(w, tt.from(r))
	return w
}

// cancels plays the engine: it ends the jobs that it knows, and each takes its time.
type cancels struct {
	jobs    map[intent.ID]*job
	refused intent.ID
	takes   time.Duration
	reasons []string
}

func (c *cancels) Cancel(_ context.Context, id intent.ID, reason string, _ http.Header) (intent.Intent, error) {
	<-time.After(c.takes) // in the bubble
	j := c.jobs[id]
	if id == c.refused {
		return j.in, NotCanceled()
	}
	c.reasons = append(c.reasons, reason)
	next, events := j.in.End(intent.Canceled, intent.Details{Error: &intent.Error{Code: "canceled", Message: reason}}, time.Now())
	j.stores(next, events)
	return j.in, nil
}

// forgotten is a server with intents of ada that nothing was heard of for 30 hours,
// and others.
func forgotten(t *testing.T, f func(t *testing.T, tt *tester, c *cancels, stuck []string)) {
	withOwners(t, func(t *testing.T, tt *tester) {
		c := &cancels{jobs: make(map[intent.ID]*job)}
		tt.configure(Config{Tokens: keys, AXP: &AXP{}, Canceler: c})
		var stuck []string
		for i := range 5 {
			tt.passes(time.Second)
			j := tt.begins(ownedBy("ada"))
			c.jobs[j.in.ID] = j
			if i == 4 {
				j.says("running")
			}
			stuck = append([]string{j.in.ID.String()}, stuck...)
		}
		foreign := tt.begins(ownedBy("eve"))
		ended := tt.begins(ownedBy("ada"))
		ended.completes(`1`)
		tt.passes(30 * time.Hour)
		tt.begins(ownedBy("ada"))
		tt.is("ada")
		f(t, tt, c, stuck)
		for id, want := range map[intent.ID]intent.Status{foreign.in.ID: intent.Delivered, ended.in.ID: intent.Completed} {
			in, err := tt.store.Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, want, in.Status, "not touched")
		}
	})
}

func ids(answer map[string]any) (ids []string) {
	for _, id := range answer["intent_ids"].([]any) {
		ids = append(ids, id.(string))
	}
	return ids
}

func TestForgottenIntentsOfOneOwnerAreCanceledTogether(t *testing.T) {
	forgotten(t, func(t *testing.T, tt *tester, c *cancels, stuck []string) {
		ask := func(body string) map[string]any {
			w := tt.posts("/v1/intents/bulk-cancel", body)
			require.Equal(t, http.StatusOK, w.Code, "%s", w.Body)
			return decode(t, w)
		}
		// As the CLI says it, with statuses that nothing here ever has.
		dry := ask(`{"older_than_hours":24,"dry_run":true,"reason":"r","limit":500,"status_filter":["DELIVERED","WAITING","IN_PROGRESS","SUBMITTED","ACKNOWLEDGED"]}`)
		require.Equal(t, 5.0, dry["would_cancel"])
		require.Equal(t, stuck, ids(dry))
		require.Equal(t, dry, ask(`{"older_than_hours":24}`), "a wish that says no more is a question")
		require.Equal(t, stuck[:1], ids(ask(`{"older_than_hours":24,"status_filter":["IN_PROGRESS"]}`)))
		require.Empty(t, ids(ask(`{"older_than_hours":24,"status_filter":["WAITING"]}`)))
		require.Equal(t, stuck[:2], ids(ask(`{"older_than_hours":24,"limit":2,"status_filter":null}`)))
		require.Empty(t, ids(ask(`{"older_than_hours":31}`)))
		require.Empty(t, c.reasons, "nothing is canceled by asking")

		c.refused, _ = intent.ParseID(stuck[2])
		done := ask(`{"older_than_hours":24,"dry_run":false,"reason":"tidy"}`)
		require.Equal(t, 4.0, done["canceled"])
		require.Equal(t, 1.0, done["not_canceled"])
		require.NotContains(t, ids(done), stuck[2])
		require.Equal(t, []string{"tidy", "tidy", "tidy", "tidy"}, c.reasons)
		require.Equal(t, stuck[2:3], ids(ask(`{"older_than_hours":24}`)))
	})
}

func TestManyCancelsEndBeforeTheCLIGivesUp(t *testing.T) {
	forgotten(t, func(t *testing.T, tt *tester, c *cancels, stuck []string) {
		c.takes = 100 * time.Second
		began := time.Now()
		done := decode(t, tt.posts("/v1/intents/bulk-cancel", `{"older_than_hours":24,"dry_run":false}`))
		require.Less(t, time.Since(began), 5*time.Minute+time.Second)
		require.Equal(t, stuck[:3], ids(done))
		require.Equal(t, 2.0, done["not_canceled"])
	})
}

func TestOnlyOwnersCancelManyAndOnlyWithASoundWish(t *testing.T) {
	forgotten(t, func(t *testing.T, tt *tester, c *cancels, _ []string) {
		for body, status := range map[string]int{
			`{}`:                                 400,
			`[]`:                                 400,
			`{"older_than_hours":"24"}`:          400,
			`{"older_than_hours":-1}`:            400,
			`{"older_than_hours":1e9}`:           400,
			`{"older_than_hours":1,"limit":501}`: 400,
			`{"older_than_hours":1,"limit":-1}`:  400,
			`{"older_than_hours":1,"status_filter":["DONE"]}`: 400,
			strings.Repeat(" ", maxWish+1):                    413,
		} {
			require.Equal(t, status, tt.posts("/v1/intents/bulk-cancel", body).Code, "%.40s", body)
		}
		wish := `{"older_than_hours":0,"dry_run":false}`
		w := httptest.NewRecorder()
		tt.server.ServeHTTP(w, tt.from(httptest.NewRequest(http.MethodPost, "/v1/intents/bulk-cancel", strings.NewReader(wish))))
		require.Equal(t, http.StatusUnsupportedMediaType, w.Code, "as a form of another site would send it")
		tt.is("mallory")
		require.Empty(t, ids(decode(t, tt.posts("/v1/intents/bulk-cancel", wish))))
		tt.is("")
		require.Equal(t, http.StatusUnauthorized, tt.posts("/v1/intents/bulk-cancel", wish).Code)
		require.Empty(t, c.reasons)
	})
	withAXP(t, func(t *testing.T, tt *tester) {
		tt.begins()
		require.Equal(t, http.StatusNotFound, tt.posts("/v1/intents/bulk-cancel", `{"older_than_hours":0}`).Code, "without owners there is no list")
	})
}

func TestAListOfAStatusThatNothingHereHasIsEmpty(t *testing.T) {
	forgotten(t, func(t *testing.T, tt *tester, _ *cancels, stuck []string) {
		for _, status := range []string{"WAITING", "ACKNOWLEDGED"} {
			require.Empty(t, tt.listed(fmt.Sprintf("limit=50&status=%s", status)))
		}
		require.Len(t, tt.listed("limit=50&status=DELIVERED"), len(stuck), "a young one, too")
		require.Equal(t, http.StatusBadRequest, tt.get("/v1/intents?status=DONE").Code)
	})
}

package observe

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// listed asks for pages until there are no more and returns the ids.
func (tt *tester) listed(query string) (ids []string) {
	tt.t.Helper()
	for path := "/v1/intents?" + query; ; {
		w := tt.get(path)
		require.Equal(tt.t, http.StatusOK, w.Code, "%s", w.Body)
		page := decode(tt.t.(*testing.T), w)
		for _, in := range page["intents"].([]any) {
			ids = append(ids, in.(map[string]any)["intent_id"].(string))
		}
		next, more := page["next"].(string)
		if !more {
			return ids
		}
		path = "/v1/intents?" + query + "&before=" + next
	}
}

func TestOwnersListTheirOwnIntentsOnly(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		var mine []string
		var ended *job
		for i := range 9 {
			tt.passes(time.Second) // ids of one second have no order
			j := tt.begins(ownedBy([]string{"alice", "eve"}[i%2]))
			if i%2 == 0 {
				mine = append([]string{j.in.ID.String()}, mine...)
			}
			if i == 4 {
				ended = j
				j.completes(`"` + strings.Repeat("x", 5000) + `"`)
			}
		}
		tt.begins()
		tt.begins(ownedBy("alice"), func(in *intent.Intent) { in.Scope = "other" })
		tt.is("alice")
		for _, query := range []string{"", "limit=1", "limit=2", "job=report", "limit=200"} {
			require.Equal(t, mine, tt.listed(query), query)
		}
		require.Equal(t, []string{ended.in.ID.String()}, tt.listed("status=COMPLETED"))
		require.Contains(t, tt.get("/v1/intents?status=COMPLETED").Body.String(), `"result_url":"`+ended.path()+`/result"`, "a large result is not in a list")
		require.Empty(t, tt.listed("job=other"))
		require.Empty(t, tt.listed("status=FAILED"))
		for _, bad := range []string{"status=done", "limit=0", "limit=201", "limit=x", "before=x"} {
			require.Equal(t, http.StatusBadRequest, tt.get("/v1/intents?"+bad).Code, bad)
		}

		// A place in the list may be that of a foreign intent: it is a time and no more.
		tt.is("eve")
		require.Subset(t, tt.listed(""), tt.listed("before="+mine[0]))
		for _, id := range tt.listed("before=" + mine[0]) {
			require.NotContains(t, mine, id)
		}
		tt.is("mallory")
		require.Empty(t, tt.listed(""))
		tt.is("")
		require.Equal(t, http.StatusUnauthorized, tt.get("/v1/intents").Code)
	})
}

func TestWithoutOwnersThereIsNoList(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.begins()
		tt.is("alice")
		require.Equal(t, http.StatusNotFound, tt.get("/v1/intents").Code)
	})
}

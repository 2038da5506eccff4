package offload_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// copiesAll has polls carry the submitter's headers, so that their answers are for the
// submitter alone.
func copiesAll(tt *tester) { tt.job.CopyHeaders = []string{"Cookie", "Authorization", "X-Api-Key"} }

func TestWhoMadeAJobIsKnownAfterARestart(t *testing.T) {
	both(t, func(tt *tester, alice, bob *client) {
		tt.backend.atTheDoor(ofEachUser)
		id, job := alice.submit()
		tt.restarts()
		for range 3 {
			require.Contains(t, alice.get(job).Body.String(), "secret of alice")
			require.Contains(t, bob.get(job).Body.String(), "secret of bob")
			tt.passes(700 * time.Millisecond)
		}
		hers := alice.listens(job).wantStream()
		require.Equal(t, id.String(), hers.last()["intent"].(map[string]any)["id"])
		his := bob.listens(job)
		tt.passes(4 * time.Second)
		require.NotContains(t, his.w.text(), "secret of alice")
		require.NotContains(t, his.w.text(), id.String(), "an id grants reading")
		hers.leave()
		his.leave()
	}, copiesAll)
}

func TestTheMakersPollsCostNothingAfterARestart(t *testing.T) {
	inBubble(t, func(tt *tester) {
		alice := tt.client("Cookie", "session=alice")
		_, job := alice.submit()
		tt.restarts()
		alice.get(job) // admits her
		tt.passes(3 * time.Second)
		tt.costs(job, 0, func() {
			for range 20 {
				require.Equal(t, http.StatusOK, alice.get(job).Code)
			}
		}, "the poll asked as she does")
	}, copiesAll)
}

func TestASecretMayBeReplacedWhileAJobRuns(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.atTheDoor(ofEachUser)
		alice := tt.client("Cookie", "session=alice")
		_, job := alice.submit()
		isKnown := func() bool {
			l := alice.listens(job)
			defer l.leave()
			return l.w.header.Get("Content-Type") == "text/event-stream"
		}
		tt.keys = keysOf(t, 'b', 'a')
		tt.restarts()
		require.True(t, isKnown(), "the secret before is in the second slot")
		tt.keys = keysOf(t, 'b')
		tt.restarts()
		require.False(t, isKnown(), "the secret that named her is gone")
	}, copiesAll)
}

func TestWhoMadeAJobIsNotKeptInPlainWords(t *testing.T) {
	inBubble(t, func(tt *tester) {
		alice := tt.client("Cookie", "session=alice")
		first, _ := alice.submit()
		second, _ := alice.submit()
		one, err := tt.store.Get(t.Context(), first)
		require.NoError(t, err)
		two, err := tt.store.Get(t.Context(), second)
		require.NoError(t, err)
		text, err := json.Marshal(one)
		require.NoError(t, err)
		require.NotContains(t, string(text), "alice")
		require.NotEmpty(t, one.Maker)
		require.NotEqual(t, one.Maker, two.Maker, "what is stored does not show that one client made both")
	})
}

func TestAPageIsKnownByItsSessionWhateverItSendsAgainstForgery(t *testing.T) {
	inBubble(t, func(tt *tester) {
		alice := tt.client("Cookie", "session=alice", "X-Csrftoken", "of the form", "Origin", "https://app.example.com")
		_, job := alice.submit()
		alice.header.Del("X-Csrftoken") // an EventSource sends neither
		alice.header.Del("Origin")
		alice.listens(job).wantStream().leave()
	}, copiesAll)
}

func TestWhoComesByAnotherProxyIsTheSameMaker(t *testing.T) {
	inBubble(t, func(tt *tester) {
		alice := tt.client("Cookie", "session=alice")
		_, job := alice.submit()
		alice.proxy = "10.0.0.2:4711"
		alice.listens(job).wantStream().leave()
	}, copiesAll)
}

func TestAJobOfBeforeItsMakerWasKeptIsNobodys(t *testing.T) {
	inBubble(t, func(tt *tester) {
		tt.backend.atTheDoor(ofEachUser)
		alice := tt.client("Cookie", "session=alice")
		alice.unknown = true
		_, job := alice.submit()
		l := alice.listens(job)
		l.wantEnd()
		require.NotEqual(t, "text/event-stream", l.w.header.Get("Content-Type"))
		require.Contains(t, l.w.text(), "secret of alice", "the backend's own answer")
		require.True(t, tt.server.Means(alice.request(http.MethodDelete, "/reports/status/"+job), alice.asker(), "/reports/status/"+job))
	}, copiesAll)
}

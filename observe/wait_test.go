package observe

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestPreferredWaitIsReadAsTheRFCSays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"wait=5": 5 * time.Second, "respond-async, wait=10": 10 * time.Second, "WAIT = 7": 7 * time.Second,
		`wait="8"`: 8 * time.Second, "wait=600": time.Minute, "wait=4;x=1": 4 * time.Second, "wait=1, wait=9": time.Second,
		"": 0, "wait": 0, "wait=": 0, "wait=-1": 0, "wait=1.5": 0, "wait=99999999999999": 0, "waiting=5": 0,
	} {
		require.Equal(t, want, PreferredWait(http.Header{"Prefer": {text}}), text)
	}
	require.Equal(t, 3*time.Second, PreferredWait(http.Header{"Prefer": {"respond-async", "wait=3"}}))
}

// asksAndWaits makes a request that is answered later.
func (tt *tester) asksAndWaits(target string, header ...string) (w *httptest.ResponseRecorder, done chan struct{}) {
	w, done = httptest.NewRecorder(), make(chan struct{})
	server, r := tt.server, tt.from(request(http.MethodGet, target, header))
	go func() {
		defer close(done)
		server.ServeHTTP(w, r)
	}()
	synctest.Wait()
	return w, done
}

func over(done chan struct{}) bool {
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestAnAnswerCanWaitForTheEnd(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		w, done := tt.asksAndWaits(j.path(), "Prefer", "wait=30")
		tt.passes(10 * time.Second)
		j.says("running")
		require.False(t, over(done))
		require.NotEmpty(t, tt.store.told(), "who waits watches")
		j.completes(`1`)
		require.True(t, over(done))
		require.Equal(t, "wait=30", w.Header().Get("Preference-Applied"))
		require.Contains(t, w.Header().Values("Vary"), "Prefer")
		require.Equal(t, "COMPLETED", decode(t, w)["intent"].(map[string]any)["status"])
		require.Zero(t, tt.hub.Observers())
	})
}

func TestAWaitEndsWhenItsTimeIsUp(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		w, done := tt.asksAndWaits(j.path(), "Prefer", "wait=600")
		tt.passes(59 * time.Second)
		require.False(t, over(done))
		tt.passes(time.Second)
		require.True(t, over(done))
		require.Equal(t, "wait=60", w.Header().Get("Preference-Applied"))
		require.Equal(t, "DELIVERED", decode(t, w)["intent"].(map[string]any)["status"])
	})
}

func TestAWaitSeesTheEndAlthoughTheRingIsLost(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		_, done := tt.asksAndWaits(j.path(), "Prefer", "wait=60")
		tt.store.set(func() { tt.store.deaf = true })
		j.reads(intent.Reading{Status: intent.Completed})
		require.False(t, over(done))
		tt.passes(15 * time.Second)
		require.True(t, over(done))
	})
}

func TestAWaitEndsWithTheHub(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		w, done := tt.asksAndWaits(j.path(), "Prefer", "wait=60")
		tt.hub.Close()
		require.True(t, over(done))
		require.Equal(t, http.StatusOK, w.Code)
		now := tt.get(j.path(), "Prefer", "wait=60")
		require.Equal(t, http.StatusOK, now.Code)
		require.Empty(t, now.Header().Get("Preference-Applied"), "there was no place to wait in")
	})
}

package observe

import (
	"bytes"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/keyring"
)

// ofStream is what an EventSource sends.
var ofStream = []string{"Accept", "text/event-stream", "Cache-Control", "no-cache", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}

// alone has the store be one that was begun now and that nobody shares; what it says goes
// into the log.
func (tt *tester) alone(c Config) (log *bytes.Buffer) {
	log = new(bytes.Buffer)
	c.Alone = &Alone{Since: time.Now(), Kept: 24 * time.Hour}
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	tt.configure(c)
	return log
}

// streamsOf are the URLs of streams of an intent.
func streamsOf(id string) []string {
	return []string{"/v1/intents/" + id + "/events/stream", "/v1/intents/" + id + "/events", "/v1/intents/events/stream?id=" + id}
}

// comesAgain asserts that an EventSource is told no more than to come again.
func (tt *tester) comesAgain(url string) {
	tt.t.Helper()
	o := tt.observes(url, ofStream...)
	require.Equal(tt.t, "text/event-stream", o.conn.Header().Get("Content-Type"))
	o.wantRetry(time.Second, 5*time.Second)
	o.wantCut()
	require.Zero(tt.t, tt.hub.Observers(), "nothing is held")
}

func (tt *tester) isNotFound(url string, header ...string) {
	tt.t.Helper()
	w := tt.get(url, header...)
	require.Equal(tt.t, http.StatusNotFound, w.Code, url)
	require.Contains(tt.t, w.Body.String(), "no such intent")
}

func TestAnEventSourceThatIsAtTheWrongProcessComesAgain(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		log := tt.alone(Config{})
		tt.passes(time.Hour)
		here := tt.begins()
		id := intent.NewID(time.Now(), 7).String()
		for _, url := range streamsOf(id) {
			tt.comesAgain(url)
			tt.isNotFound(url)
			tt.isNotFound(url, "Accept", "text/event-stream", "User-Agent", "curl/8.1")
			tt.isNotFound(url, append(slices.Clone(ofStream), "Accept", "application/json, text/event-stream;q=0.5")...)
		}
		tt.comesAgain("/v1/intents/events/stream?id=" + here.in.ID.String() + "&id=" + id)
		tt.isNotFound("/v1/intents/"+id, ofStream...)
		tt.isNotFound("/v1/intents/"+id+"/result", ofStream...)
		require.Equal(t, http.StatusNotFound, tt.asks(http.MethodHead, streamsOf(id)[0], ofStream...).Code)
		require.Contains(t, log.String(), "store redis")
		require.Contains(t, log.String(), id)
	})
}

func TestAnIDThatCanBeNobodysEndsAnEventSource(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		early := intent.NewID(time.Now().Add(-time.Minute), 7)
		log := tt.alone(Config{})
		tt.passes(48 * time.Hour)
		young := intent.NewID(time.Now(), 7)
		otherVersion, otherVariant := young, young
		otherVersion[6] = 0x40
		otherVariant[8] = 0xc0
		for what, id := range map[string]string{
			"of a store before":        early.String(),
			"too old to be kept":       intent.NewID(time.Now().Add(-25*time.Hour), 7).String(),
			"of a time to come":        intent.NewID(time.Now().Add(time.Hour), 7).String(),
			"a UUID as others make it": otherVersion.String(),
			"one of another variant":   otherVariant.String(),
			"in capitals":              strings.ToUpper(young.String()),
			"no UUID":                  "1",
		} {
			for _, url := range streamsOf(id) {
				w := tt.get(url, ofStream...)
				require.Equal(t, http.StatusNotFound, w.Code, what)
			}
		}
		require.Empty(t, log.String())
	})
}

func TestWhereProcessesShareAStoreWhatIsNotThereIsNowhere(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.isNotFound(streamsOf(intent.NewID(time.Now(), 7).String())[0], ofStream...)
	})
}

func TestTheLogIsToldOfStraysOnceAnHour(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		log := tt.alone(Config{})
		for range 150 { // in two hours and a half
			for range 10 {
				tt.comesAgain(streamsOf(intent.NewID(time.Now(), 7).String())[0])
			}
			tt.passes(time.Minute)
		}
		require.Equal(t, 3, strings.Count(log.String(), "\n"))
	})
}

func TestAbsentAndForeignAreOneAnswerToAnEventSourceToo(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.alone(Config{Tokens: keys})
		others, err := keyring.New(bytes.Repeat([]byte("o"), 32), nil)
		require.NoError(t, err)
		tt.is("alice")
		hers := tt.begins(ownedBy("alice")).in.ID
		tt.is("bob")
		for _, id := range []intent.ID{hers, intent.NewID(time.Now(), 7)} {
			for _, url := range streamsOf(id.String()) {
				tt.isNotFound(url)
				tt.isNotFound(url, ofStream...)
				tt.isNotFound(with(url, others.Token(id, time.Now().Add(-time.Second))), ofStream...)
				tt.isNotFound(with(url, others.Token(id, time.Now().Add(time.Hour))), ofStream...)
			}
		}
		elsewhere := intent.NewID(time.Now(), 7)
		for _, url := range streamsOf(elsewhere.String()) {
			tt.comesAgain(with(url, keys.Token(elsewhere, time.Now().Add(time.Hour))))
		}
		tt.is("")
		for _, id := range []intent.ID{hers, intent.NewID(time.Now(), 7)} {
			require.Equal(t, http.StatusUnauthorized, tt.get(streamsOf(id.String())[0], ofStream...).Code)
		}
	})
}

func TestATokenOfAnotherProcesssSecretComesAgainUntilItExpires(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		log := tt.alone(Config{Tokens: keys})
		others, err := keyring.New(bytes.Repeat([]byte("o"), 32), nil)
		require.NoError(t, err)
		here, away := tt.begins(ownedBy("alice")).in.ID, intent.NewID(time.Now(), 7)
		for _, id := range []intent.ID{here, away} {
			url := with(streamsOf(id.String())[0], others.Token(id, time.Now().Add(time.Hour)))
			tt.comesAgain(url)
			require.Equal(t, http.StatusUnauthorized, tt.get(url).Code)
			for _, token := range []string{
				others.Token(id, time.Now().Add(-time.Second)), others.Token(id, time.Now().Add(24*time.Hour)), "made-up", "",
			} {
				require.Equal(t, http.StatusUnauthorized, tt.get(with(streamsOf(id.String())[0], token), ofStream...).Code)
			}
		}
		require.Contains(t, log.String(), "another secret")
		require.NotContains(t, log.String(), "token=")
	})
}

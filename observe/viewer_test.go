package observe

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/keyring"
)

var keys = func() *keyring.Keyring {
	k, err := keyring.New(bytes.Repeat([]byte("k"), 32), bytes.Repeat([]byte("p"), 32))
	if err != nil {
		panic(err)
	}
	return k
}()

// is makes the requests that follow come from an owner; from nobody with "".
func (tt *tester) is(owner string) {
	tt.viewer = Viewer{}
	if owner != "" {
		tt.viewer.Owners = keys.MACs("owner", owner)
	}
}

func ownedBy(owner string) func(*intent.Intent) {
	return func(in *intent.Intent) { in.Owner = keys.MAC("owner", owner) }
}

// withOwners runs f on a server where intents have owners.
func withOwners(t *testing.T, f func(t *testing.T, tt *tester)) {
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Tokens: keys})
		f(t, tt)
	})
}

// attempts are the ways to get at an intent that a token may be enough for.
func attempts(j *job) []string {
	id := j.in.ID.String()
	return []string{
		j.path(), j.path() + "/events", j.stream(), j.path() + "/result",
		j.stream() + "?since=3", j.stream() + "?wait_seconds=1", j.stream() + "?client=eventsource",
		"/v1/intents/events/stream?id=" + id,
	}
}

func with(target, token string) string {
	if strings.Contains(target, "?") {
		return target + "&token=" + token
	}
	return target + "?token=" + token
}

// answer is all that a client can tell two answers apart by.
func answer(w *httptest.ResponseRecorder) string {
	var b bytes.Buffer
	_ = w.Result().Header.Write(&b)
	return http.StatusText(w.Code) + "\n" + b.String() + "\n" + w.Body.String()
}

func TestForeignAbsentAndMalformedAreOneAnswer(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		mine := tt.begins(ownedBy("alice"))
		ownerless := tt.begins()
		elsewhere := tt.begins(ownedBy("eve"), func(in *intent.Intent) { in.Scope = "other" })
		tt.is("eve")
		for i, path := range attempts(mine) {
			absent := &job{in: intent.Intent{ID: intent.NewID(time.Now(), 0)}}
			want := tt.get(attempts(absent)[i], "Last-Event-ID", "3", "Prefer", "wait=9")
			require.Equal(t, http.StatusNotFound, want.Code)
			for _, other := range []string{
				path, attempts(ownerless)[i], attempts(elsewhere)[i],
				strings.Replace(path, mine.in.ID.String(), "nonsense", 1),
				strings.Replace(path, mine.in.ID.String(), strings.ToUpper(mine.in.ID.String()), 1),
				with(path, "nonsense"), with(path, keys.Token(ownerless.in.ID, time.Now().Add(time.Hour))),
				with(path, keys.Token(mine.in.ID, time.Now())),
			} {
				require.Equal(t, answer(want), answer(tt.get(other, "Last-Event-ID", "3", "Prefer", "wait=9")), other)
			}
		}
		require.Zero(t, tt.hub.Observers())
	})
}

func TestNobodyGetsNothing(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		mine, other := tt.begins(ownedBy("alice")), tt.begins(ownedBy("alice"))
		tt.is("")
		soon := time.Now().Add(time.Hour)
		for _, path := range attempts(mine) {
			want := tt.get(path)
			require.Equal(t, http.StatusUnauthorized, want.Code, path)
			require.Equal(t, "unauthorized", problemCode(t, want))
			require.NotEmpty(t, want.Header().Get("WWW-Authenticate"))
			for name, token := range map[string]string{
				"of another intent": keys.Token(other.in.ID, soon),
				"stale":             keys.Token(mine.in.ID, time.Now()),
				"made up":           strings.Repeat("A", 28),
				"of no id":          keys.Token(intent.ID{}, soon),
			} {
				require.Equal(t, answer(want), answer(tt.get(with(path, token))), "%s: a token %s", path, name)
			}
		}
		require.Equal(t, answer(tt.get(mine.path())), answer(tt.get("/v1/intents/"+intent.NewID(time.Now(), 0).String())),
			"whether there is one is not told either")
	})
}

func TestATokenReadsItsIntentAndDoesNothingElse(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		mine := tt.begins(ownedBy("alice"))
		token := keys.Token(mine.in.ID, time.Now().Add(TokenLife))
		tt.is("")
		require.Equal(t, http.StatusOK, tt.get(with(mine.path(), token)).Code)
		require.Equal(t, http.StatusOK, tt.get(with(mine.path()+"/events", token)).Code)
		tt.observes(with(mine.stream(), token)).opens().leave()
		tt.is("eve")
		require.Equal(t, http.StatusOK, tt.get(with(mine.path(), token)).Code, "whoever has it")

		for _, who := range []string{"", "eve"} {
			tt.is(who)
			for _, c := range [][3]string{{"DELETE", mine.path()}, {"POST", mine.path() + "/resolve", `{"status":"CANCELED"}`}} {
				r := request(c[0], with(c[1], token), []string{"Content-Type", "application/json"})
				r.Body = io.NopCloser(strings.NewReader(c[2]))
				w := httptest.NewRecorder()
				tt.server.ServeHTTP(w, tt.from(r))
				require.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound}, w.Code, c[1])
			}
			require.NotContains(t, tt.get(with("/v1/intents", token)).Body.String(), mine.in.ID.String())
		}
		in, err := tt.store.Get(t.Context(), mine.in.ID)
		require.NoError(t, err)
		require.Equal(t, intent.Delivered, in.Status)
	})
}

func TestWhoIsHereByATokenGetsALargeResultByIt(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		mine := tt.begins(ownedBy("alice"))
		mine.completes(`"` + strings.Repeat("\x7f", intent.MaxResult-2) + `"`) // six times as long in a frame
		token := keys.Token(mine.in.ID, time.Now().Add(TokenLife))
		for _, who := range []string{"", "alice"} {
			tt.is(who)
			stream := mine.stream()
			if who == "" {
				stream = with(stream, token)
			}
			obs := tt.observes(stream).opens()
			obs.wantSeqs(1, mine.in.Seq-1)
			obs.wantRetry(24*time.Hour, 24*time.Hour)
			e := obs.wantEvent("intent.completed")
			url := e.Details["result_url"].(string)
			require.Equal(t, who == "", strings.Contains(url, token), "%q: %s", who, url)
			require.Equal(t, http.StatusOK, tt.get(url).Code, url)
		}
	})
}

func TestATokenCannotBeRenewedWithItself(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		mine := tt.begins(ownedBy("alice"))
		told := func(path string) string {
			url := decode(t, tt.get(path))["intent"].(map[string]any)["observe_url"].(string)
			_, token, _ := strings.Cut(url, "?token=")
			return token
		}
		tt.is("alice")
		first := told(mine.path())
		tt.passes(time.Minute)
		require.NotEqual(t, first, told(mine.path()), "its owner gets a new one each time")
		tt.is("")
		require.Equal(t, first, told(with(mine.path(), first)))
		tt.passes(TokenLife)
		require.Equal(t, http.StatusUnauthorized, tt.get(with(mine.path(), first)).Code)
	})
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		mine := tt.begins(ownedBy("alice"))
		tt.is("")
		obs := tt.observes(with(mine.stream()+"?heartbeat=60", keys.Token(mine.in.ID, time.Now().Add(30*time.Second)))).opens()
		obs.wantSeqs(1, 3)
		tt.passes(29 * time.Second)
		obs.wantNothing()
		tt.passes(2 * time.Second)
		obs.wantRetry(0, 5*time.Second)
		obs.wantCut()
	})
}

func TestIntentsStayTheirOwnersWhenTheSecretChanges(t *testing.T) {
	withOwners(t, func(t *testing.T, tt *tester) {
		before, err := keyring.New(bytes.Repeat([]byte("p"), 32), nil)
		require.NoError(t, err)
		mine := tt.begins(func(in *intent.Intent) { in.Owner = before.MAC("owner", "alice") })
		tt.is("alice")
		require.Equal(t, http.StatusOK, tt.get(mine.path()).Code)
		require.Contains(t, tt.get("/v1/intents").Body.String(), mine.in.ID.String())
		tt.is("")
		require.Equal(t, http.StatusOK, tt.get(with(mine.path(), before.Token(mine.in.ID, time.Now().Add(time.Hour)))).Code)
	})
}

func TestOnlySoManyStreamsForOneOwnerAndOneIntent(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Tokens: keys, Limits: Limits{All: 10, PerOwner: 2, PerIntent: 3}})
		mine, hers := tt.begins(ownedBy("alice")), tt.begins(ownedBy("eve"))
		tt.is("alice")
		open := []*observer{tt.observes(mine.stream()).opens(), tt.observes(mine.stream()).opens()}
		w := tt.get(mine.stream())
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		require.Equal(t, http.StatusTooManyRequests, tt.get("/v1/intents/events/stream?id="+mine.in.ID.String()).Code)
		require.Equal(t, http.StatusOK, tt.get(mine.path(), "Prefer", "wait=5").Code, "what needs no place is served")

		tt.is("eve")
		open = append(open, tt.observes(hers.stream()).opens())
		// A token counts for the owner of the intent.
		w = tt.get(with(mine.stream(), keys.Token(mine.in.ID, time.Now().Add(time.Hour))))
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		for _, o := range open {
			o.leave()
		}
		synctest.Wait()
		tt.is("alice")
		tt.observes(mine.stream()).opens().leave()
	})
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Limits: Limits{PerIntent: 1}})
		j, other := tt.begins(), tt.begins()
		first := tt.observes(j.stream()).opens()
		require.Equal(t, http.StatusTooManyRequests, tt.get(j.stream()).Code)
		tt.observes(other.stream()).opens().leave()
		first.leave()
	})
}

func TestAnEventSourceIsToldToComeBackInItsOwnLanguage(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{Limits: Limits{All: 1}})
		j := tt.begins()
		first := tt.observes(j.stream()).opens()
		w := tt.get(j.stream() + "?client=eventsource")
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
		require.Regexp(t, `^retry: \d{4,5}\n$`, w.Body.String())
		require.Equal(t, http.StatusNotFound, tt.get("/v1/intents/x/events/stream?client=eventsource").Code, "nothing to come back for")
		first.leave()
	})
}

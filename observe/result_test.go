package observe

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// gives is a backend that answers with what it was asked for.
type gives struct{ asked []string }

func (g *gives) Give(w http.ResponseWriter, r *http.Request, target string) {
	g.asked = append(g.asked, r.Header.Get("Authorization")+" "+target)
	_, _ = w.Write([]byte("the file"))
}

// ends stores an intent that has completed with this result_url.
func (tt *tester) ends(resultURL string, change ...func(*intent.Intent)) *job {
	j := tt.begins(change...)
	j.reads(intent.Reading{Status: intent.Completed, ResultURL: resultURL})
	return j
}

func TestResultIsGivenAsItIs(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		j := tt.begins()
		w := tt.get(j.path() + "/result")
		require.Equal(t, http.StatusConflict, w.Code)
		require.Equal(t, "not_ended", problemCode(t, w))
		j.completes(`{"rows":[1,2]}`)
		w = tt.get(j.path() + "/result")
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		require.Equal(t, `{"rows":[1,2]}`, w.Body.String())
	})
}

func TestResultOnTheBackendIsFetchedAsTheClient(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		backend := &gives{}
		tt.configure(Config{Backend: backend})
		under := func(in *intent.Intent) { in.Prefix = "/api" }
		for _, c := range []struct {
			job  *job
			want string
		}{
			{tt.ends("/files/1?part=2"), "/files/1?part=2"},
			{tt.ends("/api/files/1", under), "/files/1"},
			{tt.ends("/apifiles/1", under), "/apifiles/1"},
			{tt.ends("/files/1", under), "/files/1"},
		} {
			w := tt.get(c.job.path()+"/result?token=x&target=/other", "Authorization", "Bearer mine")
			require.Equal(t, "the file", w.Body.String())
			require.Equal(t, "Bearer mine "+c.want, backend.asked[len(backend.asked)-1])
		}
	})
}

func TestNothingButAPathLeadsToTheBackend(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		backend := &gives{}
		tt.configure(Config{Backend: backend})
		for url, code := range map[string]int{
			"https://files.example.com/1?sig=2": http.StatusSeeOther,
			"//evil.example/x":                  http.StatusNotFound,
			`/\evil.example/x`:                  http.StatusNotFound,
			"/a\r\nX: y":                        http.StatusNotFound,
			"javascript:alert(1)":               http.StatusNotFound,
			"files/1":                           http.StatusNotFound,
			"ftp://files.example.com/1":         http.StatusNotFound,
			"":                                  http.StatusNotFound,
		} {
			w := tt.get(tt.ends(url).path() + "/result")
			require.Equal(t, code, w.Code, url)
			if code == http.StatusSeeOther {
				require.Equal(t, url, w.Header().Get("Location"))
				require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
			}
		}
		require.Empty(t, backend.asked)
	})
}

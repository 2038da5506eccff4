package observe

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheScriptIsForEverybodyAndKeptByCaches(t *testing.T) {
	server := New(Config{})
	ask := func(method, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/v1/intents/observe.js", nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w
	}
	got := ask(http.MethodGet, "")
	require.Equal(t, http.StatusOK, got.Code)
	require.Equal(t, "text/javascript; charset=utf-8", got.Header().Get("Content-Type"), "browsers run a module of this type only")
	require.Contains(t, got.Body.String(), "export async function observe(")
	require.Contains(t, got.Header().Get("Cache-Control"), "max-age=")

	require.NotContains(t, got.Body.String(), "// ", "comments are for people")
	require.NotContains(t, got.Body.String(), "\t")
	var small bytes.Buffer
	z, _ := gzip.NewWriterLevel(&small, gzip.BestCompression)
	_, _ = z.Write(got.Body.Bytes())
	require.NoError(t, z.Close())
	require.LessOrEqual(t, small.Len(), 1331, "docs/http.md says how large it is")

	require.Empty(t, ask(http.MethodHead, "").Body.String())
	require.Equal(t, http.StatusNotModified, ask(http.MethodGet, got.Header().Get("ETag")).Code)
	require.Equal(t, http.StatusOK, ask(http.MethodGet, `"another"`).Code)
	require.Equal(t, http.StatusMethodNotAllowed, ask(http.MethodPost, "").Code)
}

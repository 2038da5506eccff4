package observe

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

const page = "https://app.example.com"

func TestOriginsAreAnsweredWithThemselves(t *testing.T) {
	c := CORS{page}
	for origin, want := range map[string]string{
		page: page, "": "", "null": "", "*": "", "https://app.example.com.evil.example": "", "http://app.example.com": "",
		"https://app.example.com:8443": "", "https://APP.example.com": "",
	} {
		h := make(http.Header)
		c.Head(h, request(http.MethodGet, "/", []string{"Origin", origin}))
		require.Equal(t, want, h.Get("Access-Control-Allow-Origin"), origin)
		require.Equal(t, want != "", h.Get("Access-Control-Allow-Credentials") == "true")
		require.Equal(t, "Origin", h.Get("Vary"), "whoever asks")
	}
}

func TestPreflightIsOneRequestAndNoOther(t *testing.T) {
	ask := func(method string, header ...string) (*httptest.ResponseRecorder, bool) {
		w := httptest.NewRecorder()
		return w, CORS{page}.Preflight(w, request(method, "/v1/intents/x", header))
	}
	w, ok := ask("OPTIONS", "Origin", page, "Access-Control-Request-Method", "DELETE")
	require.True(t, ok)
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Contains(t, w.Header().Get("Access-Control-Allow-Headers"), "Last-Event-ID")
	require.Len(t, w.Header().Values("Access-Control-Allow-Headers"), 1)
	w, _ = ask("OPTIONS", "Origin", page, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-auth-token")
	require.Contains(t, w.Header().Values("Access-Control-Allow-Headers"), "x-auth-token", "whatever the backend knows its users by")
	w, ok = ask("OPTIONS", "Origin", "https://evil.example", "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "x-auth-token")
	require.True(t, ok)
	require.Empty(t, w.Header().Get("Access-Control-Allow-Methods"))
	require.Empty(t, w.Header().Get("Access-Control-Allow-Headers"))
	for _, header := range [][]string{{"Origin", page}, {"Access-Control-Request-Method", "GET"}, nil} {
		_, ok = ask("OPTIONS", header...)
		require.False(t, ok)
	}
	_, ok = ask("GET", "Origin", page, "Access-Control-Request-Method", "GET")
	require.False(t, ok)
}

func TestOurHeadersAreExposedWhereTheBackendLetsAPageRead(t *testing.T) {
	c := CORS{page}
	ours := func() http.Header { return http.Header{"Intent-Id": {"x"}, "Link": {"y"}} }
	h := ours()
	c.Expose(h)
	require.Equal(t, ours(), h, "who may read is the backend's to say")

	h.Set("Access-Control-Allow-Origin", page)
	h["Access-Control-Expose-Headers"] = []string{"X-Total, link", "X-Page"}
	for range 2 {
		c.Expose(h)
		require.Equal(t, []string{"X-Total, link, X-Page, Intent-Id"}, h["Access-Control-Expose-Headers"])
		require.Equal(t, []string{page}, h["Access-Control-Allow-Origin"])
	}
	CORS(nil).Expose(h)
}

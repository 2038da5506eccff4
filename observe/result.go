package observe

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A Backend gives a client what the backend has under a target, path and query, in
// answer to the client's own request: with the client's headers, since it is the
// backend that decides who gets it. It answers with a Problem what it cannot give.
type Backend interface {
	Give(w http.ResponseWriter, r *http.Request, target string)
}

// retryResult is when to ask again for a result that is not there yet.
const retryResult = 5 * time.Second

// serveResult answers the result of a completed intent: the result itself, or what
// its result_url leads to.
func (s *Server) serveResult(w http.ResponseWriter, r *http.Request, text string) (*stream, error) {
	in, err := s.see(r, text, r.URL.Query().Get("token"))
	switch {
	case err != nil:
		return nil, err
	case !in.Status.Terminal():
		return nil, &Problem{
			Status: http.StatusConflict, Code: "not_ended", RetryAfter: retryResult,
			Message: "the intent has not ended yet", Details: map[string]any{"status": in.Status},
		}
	case in.Result != nil && json.Valid(in.Result):
		return nil, writeJSON(w, r, http.StatusOK, in.Result)
	}
	if target := onBackend(&in.Intent); target != "" && s.Backend != nil {
		s.Backend.Give(w, r, target)
		return nil, nil
	}
	if elsewhere(in.ResultURL) {
		h := w.Header()
		h.Set("Location", in.ResultURL)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer") // our URL can have a token in it
		w.WriteHeader(http.StatusSeeOther)
		return nil, nil
	}
	return nil, &Problem{
		Status: http.StatusNotFound, Code: "no_result", Message: "the intent has no result",
		Details: map[string]any{"status": in.Status},
	}
}

// onBackend is the intent's result_url as the backend knows it; "" if it does not
// lead there. What begins with two slashes would be another host.
func onBackend(in *intent.Intent) string {
	target := in.ResultURL
	if rest, ok := strings.CutPrefix(target, in.Prefix); ok && strings.HasPrefix(rest, "/") {
		target = rest
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host != "" || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.Contains(target, `\`) {
		return ""
	}
	return u.RequestURI()
}

// elsewhere reports whether a client can be sent to a URL.
func elsewhere(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

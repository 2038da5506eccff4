package observe

import (
	"net/http"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Present answers a request that made an intent with the intent as it stands: 202,
// and where it is.
func (s *Server) Present(w http.ResponseWriter, r *http.Request, in *intent.Intent) {
	w.Header().Set("Location", s.IntentURL(Prefix(r.Context()), in.ID))
	// The intent is stored and the job runs: there is nobody to tell of a failure.
	_ = s.writeIntent(w, r, http.StatusAccepted, in)
}

func (s *Server) writeIntent(w http.ResponseWriter, r *http.Request, status int, in *intent.Intent) error {
	return writeJSON(w, r, status, struct {
		OK     bool `json:"ok"`
		Intent view `json:"intent"`
	}{true, s.view(r, in)})
}

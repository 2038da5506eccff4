package observe

import (
	"net/http"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Present answers a request that made an intent with the intent as it stands: 202,
// and where it is.
func (s *Server) Present(w http.ResponseWriter, r *http.Request, in *intent.Intent) {
	w.Header().Set("Location", s.intentURL(Prefix(r.Context()), in.ID))
	// The intent is stored and the job runs: there is nobody to tell of a failure.
	_ = s.writeIntent(w, r, http.StatusAccepted, in)
}

// Observe answers a request that made an intent with the intent's events, from the
// first on; it ends abnormally if it ends early, as every stream does. The job runs
// already: if no stream can be had the client gets the intent, and no error that
// would make it start another. The query of the request is the backend's.
func (s *Server) Observe(w http.ResponseWriter, r *http.Request, in *intent.Intent) {
	r = r.Clone(r.Context())
	r.URL.RawQuery = ""
	st, err := s.stream(w, r, []sight{{Intent: *in}}, []int64{0}, nil)
	if err != nil {
		s.Present(w, r, in)
		return
	}
	if st != nil {
		st.serve(r.Context())
	}
}

func (s *Server) writeIntent(w http.ResponseWriter, r *http.Request, status int, in *intent.Intent) error {
	return writeJSON(w, r, status, struct {
		OK     bool `json:"ok"`
		Intent view `json:"intent"`
	}{true, s.view(r, in)})
}

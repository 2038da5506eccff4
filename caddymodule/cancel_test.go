package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// Many backends end a job that was canceled as one that failed. Whether a client has
// canceled it past us is seen by its request.
func TestAClientsOwnCancelPassesAndIsRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		want intent.Status
	}{
		"accepted": {http.StatusNoContent, intent.Canceled},
		"refused":  {http.StatusForbidden, intent.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.serve(strings.Replace(report, "poll 100ms", "cancel DELETE /reports/status/{job_id}\npoll 100ms", 1))
			id, job := s.submit()
			s.backend.Meets(legacytest.Cancels, legacytest.Code(c.code, ""), 1)
			require.Equal(t, c.code, s.do("DELETE", "/reports/status/"+job, "").StatusCode)
			s.backend.Fails(job, "killed by user")
			events := s.observe(id).until(c.want)
			require.Equal(t, "killed by user", events[len(events)-1].Details.Error.Message)
		})
	}
}

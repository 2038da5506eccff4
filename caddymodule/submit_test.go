package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/engine"
)

func TestASubmitInDoubtIsNotAnsweredAsOneThatWasRefused(t *testing.T) {
	for key, advice := range map[string]string{
		"":  "With an Idempotency-Key it could be repeated safely",
		"k": "Repeat it with the same Idempotency-Key",
	} {
		r := httptest.NewRequest("POST", "/reports/generate", nil)
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		w := httptest.NewRecorder()
		require.NoError(t, starting{r: r}.answer(w, fmt.Errorf("storing: %w", engine.ErrInDoubt)))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "5", w.Header().Get("Retry-After"))
		require.Contains(t, w.Body.String(), `"code":"submit_uncertain"`)
		require.Contains(t, w.Body.String(), advice)
	}
	w := httptest.NewRecorder()
	require.NoError(t, starting{r: httptest.NewRequest("POST", "/", nil)}.answer(w, engine.ErrNotAccepted))
	require.Contains(t, w.Body.String(), `"code":"unavailable"`)
}

package caddymodule_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

// TestMistakesInJSONAreToldWithTheirPath loads handlers as JSON, where no
// Caddyfile parser has looked at them before.
func TestMistakesInJSONAreToldWithTheirPath(t *testing.T) {
	for name, test := range map[string]struct{ handler, want string }{
		"unknown field":          {`{"jobz":[]}`, `unknown field "jobz"`},
		"no backend":             {`{"jobs":[]}`, `backend: missing`},
		"axp elsewhere":          {`{"backend":{"handler":"reverse_proxy"},"axp":true,"path":"/intents","jobs":[{"name":"a","submit":{"path":"/a"}}]}`, `axp: AXME's clients know no other path than /v1/intents, and path is /intents`},
		"no jobs":                {`{"backend":{"handler":"reverse_proxy"}}`, `jobs: missing`},
		"bad expression":         {`{"backend":{"handler":"reverse_proxy"},"jobs":[{"name":"a","submit":{"path":"/a"}},{"name":"b","submit":{"path":"/b"},"job_id":"body.id +"}]}`, `jobs[1] "b": job_id: "body.id +"`},
		"bad poll":               {`{"backend":{"handler":"reverse_proxy"},"jobs":[{"name":"a","submit":{"path":"/a"},"poll":{"interval":"1ms"}}]}`, `jobs[0] "a": poll interval: 1ms is too short`},
		"one route, two jobs":    {`{"backend":{"handler":"reverse_proxy"},"jobs":[{"name":"a","submit":{"path":"/a"}},{"name":"b","submit":{"path":"/a"}}]}`, `jobs[1] "b": submit: POST /a can be the same request as that of job "a"`},
		"name missing":           {`{"backend":{"handler":"reverse_proxy"},"jobs":[{"submit":{"path":"/a"}}]}`, `jobs[0] "": name: missing`},
		"negative limit":         {`{"backend":{"handler":"reverse_proxy"},"limits":{"in_flight":-1},"jobs":[{"name":"a","submit":{"path":"/a"}}]}`, `limits: a limit is negative`},
		"unknown backend module": {`{"backend":{"handler":"teleport"},"jobs":[{"name":"a","submit":{"path":"/a"}}]}`, `unknown module: http.handlers.teleport`},
	} {
		t.Run(name, func(t *testing.T) {
			var handler map[string]any
			require.NoError(t, json.Unmarshal([]byte(test.handler), &handler))
			handler["handler"] = "intents"
			raw, err := json.Marshal(map[string]any{"admin": map[string]any{"disabled": true}, "apps": map[string]any{
				"http": map[string]any{"servers": map[string]any{"s": map[string]any{
					"listen": []string{"127.0.0.1:0"}, "routes": []any{map[string]any{"handle": []any{handler}}}}}}}})
			require.NoError(t, err)
			var cfg *caddy.Config
			require.NoError(t, json.Unmarshal(raw, &cfg))
			require.ErrorContains(t, caddy.Validate(cfg), test.want)
		})
	}
}

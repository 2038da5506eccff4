package caddymodule

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/adapter"
)

func TestPlaceholdersThatStandForNothingAreTold(t *testing.T) {
	t.Setenv("REPORT_TOKEN", "s3cret")
	t.Setenv("EMPTY", "")
	var told []string
	e := environment{caddy.NewReplacer(), func(header, placeholder string) { told = append(told, header+" "+placeholder) }}
	spec := e.resolve(adapter.Spec{
		Status: &adapter.Endpoint{Header: http.Header{
			"Authorization": {"Bearer {env.REPORT_TOKEN}"}, "X-Job": {"{job_id} {params.zone}"}, "X-Key": {"key={env.NOT_SET_AT_ALL}"},
		}},
		Poll: &adapter.Poll{Wait: "?wait=30", Batch: &adapter.Batch{Header: http.Header{"X-Empty": {"{env.EMPTY}"}}}},
	})
	require.ElementsMatch(t, []string{"X-Key {env.NOT_SET_AT_ALL}", "X-Empty {env.EMPTY}"}, told)
	require.Equal(t, http.Header{"Authorization": {"Bearer s3cret"}, "X-Job": {"{job_id} {params.zone}"}, "X-Key": {"key="}}, spec.Status.Header)
	require.Equal(t, "?wait=30", spec.Poll.Wait)
}

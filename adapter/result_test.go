package adapter

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestAFetchedResultThatCannotBeToldLeavesItsURL(t *testing.T) {
	job := mustCompile(t, Spec{Submit: Route{Path: "/jobs"}})
	done := intent.Reading{Status: intent.Completed, ResultURL: "/jobs/7/result"}
	fits := `"` + strings.Repeat("x", intent.MaxResult-2) + `"`
	read := job.ReadFetched(testIntent(), done, Answer{Code: http.StatusOK, Body: []byte(fits)})
	require.Equal(t, fits, string(read.Result))
	require.Empty(t, read.ResultURL)
	for name, a := range map[string]Answer{
		"too large":     {Code: http.StatusOK, Body: []byte(`"x` + fits[1:])},
		"not even text": {Code: http.StatusOK, Body: []byte("PK\x03\x04\xff\xfe")},
		"empty":         {Code: http.StatusNoContent},
		"cut":           {Code: http.StatusOK, Body: []byte("1"), Cut: true},
		"moved":         {Code: http.StatusFound, Body: []byte("{}")},
	} {
		require.Equal(t, done, job.ReadFetched(testIntent(), done, a), name)
	}
}

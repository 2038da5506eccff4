package engine

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
)

func TestAnExcerptHasNoSecretAndAllElse(t *testing.T) {
	for body, want := range map[string]string{
		`{"status":"archived","percent":40}`:                                       `{"status":"archived","percent":40}`,
		`{ "a" : 1, "api_key" : "k-1" , "b":[1,2]}`:                                `{ "a" : 1, "api_key":"***" , "b":[1,2]}`,
		`{"credentials":{"user":"x","key":["y"]},"state":"done"}`:                  `{"credentials":"***","state":"done"}`,
		`{"nested":[{"accessToken":12345,"id":"j-1"}]}`:                            `{"nested":[{"accessToken":"***","id":"j-1"}]}`,
		`{"token":null,"password":"","status":"x"}`:                                `{"token":"***","password":"***","status":"x"}`,
		`{"url":"https://u:p@h.example/x?sig=abc&page=2"}`:                         `{"url":"https://***@h.example/x?sig=***&page=2"}`,
		`{"url":"https://s3.example/k?X-Amz-Signature=00ff&X-Amz-Expires=900"}`:    `{"url":"https://s3.example/k?X-Amz-Signature=***&X-Amz-Expires=***"}`,
		`{"message":"sent Authorization: Bearer abcdefgh1234 to it"}`:              `{"message":"sent Authorization: *** to it"}`,
		`{"note":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"}`:                     `{"note":"***"}`,
		`{"secret":"cut off in the mid`:                                            `{"secret":"***"`,
		`{"status":"x","secret":"a\"b`:                                             `{"status":"x","secret":"***"`,
		`<job><state>x</state><Password>hunter2</Password></job>`:                  `<job><state>x</state><Password>***</Password></job>`,
		"state=running\npassword=hunter2\nleft=3":                                  "state=running\npassword=***\nleft=3",
		"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nok": "***\nok",
		`{"passed":3,"tokens_used":7}`:                                             `{"passed":3,"tokens_used":7}`,
		"\xff\xfe{":                                                                "\uFFFD{",
		"":                                                                         "",
	} {
		got, more := excerpt([]byte(body))
		require.Equal(t, want, got, body)
		require.False(t, more)
	}
}

func TestReasonsAndParamsHideWhatAnExcerptHides(t *testing.T) {
	reasons := hideReasons([]adapter.Reason{
		{Line: "state body.status", Value: `"archived"`},
		{Line: "message body.session.text", Value: `"hush"`},
		{Line: "message body.step", Value: `"sent Bearer abcdefgh1234"`},
		{Line: "failed when body.token == null", Value: "true"},
		{Line: "progress body.percent", Value: "40 %"},
	})
	require.Equal(t, []string{`"archived"`, `"***"`, `"sent ***"`, "true", "40 %"},
		[]string{reasons[0].Value, reasons[1].Value, reasons[2].Value, reasons[3].Value, reasons[4].Value})
	params := map[string]string{"api_key": "k-1", "kind": "annual", "to": "https://u:p@h.example/"}
	require.Equal(t, map[string]string{"api_key": "***", "kind": "annual", "to": "https://***@h.example/"}, hideParams(params))
	require.Equal(t, "k-1", params["api_key"])
}

func TestAnExcerptIsShortAndItsSecretsAreCutOffWhole(t *testing.T) {
	body := `{"filler":"` + strings.Repeat("é", 495) + `","token":"` + strings.Repeat("s3cret", 100) + `"}`
	got, _ := excerpt([]byte(body))

	require.LessOrEqual(t, len(got), maxExcerpt)
	require.NotContains(t, got, "s3cret")
	long, more := excerpt([]byte(strings.Repeat("é", 4000) + "x"))
	require.LessOrEqual(t, len(long), maxExcerpt)
	require.True(t, more)
	require.True(t, utf8.ValidString(long))
}

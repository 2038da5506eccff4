package adapter

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRetryAfterIsReadInEveryFormAndBounded(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"3": 3 * time.Second, " 3 ": 3 * time.Second, "1.5": 1500 * time.Millisecond, "0.25": 250 * time.Millisecond, "007": 7 * time.Second, "300": 5 * time.Minute,
		"0": MinRetryAfter, "-5": MinRetryAfter, "0.0001": MinRetryAfter, "-0": MinRetryAfter,
		"301": MaxRetryAfter, "86400": MaxRetryAfter, "999999999": MaxRetryAfter, strings.Repeat("9", 400): MaxRetryAfter, "99999999999999999999": MaxRetryAfter,
		"Sun, 01 Mar 2026 12:00:20 GMT": 20 * time.Second, "Sunday, 01-Mar-26 12:00:20 GMT": 20 * time.Second, "Sun Mar  1 12:00:20 2026": 20 * time.Second,
		"Sun, 01 Mar 2026 11:00:00 GMT": MinRetryAfter, "Fri, 01 Jan 2100 00:00:00 GMT": MaxRetryAfter, "Mon, 01 Jan 0001 00:00:00 GMT": MinRetryAfter,
		"1772366430": 30 * time.Second, "1772366430000": 30 * time.Second, "1772366430.5": 30 * time.Second, "1772360000": MinRetryAfter, "1972366430": MaxRetryAfter,
		"": 0, "soon": 0, "1s": 0, "0x10": 0, "inf": 0, "NaN": 0, "1e3": 0, "1_0": 0, "1,5": 0, "--1": 0, "1.2.3": 0, ".": 0, "-": 0, "\x00": 0, "Sun, 32 Mar 2026 12:00:20 GMT": 0,
	} {
		require.Equal(t, want, RetryAfter(http.Header{"Retry-After": {value}}, noon), "%q", value)
	}
	require.Zero(t, RetryAfter(nil, noon))
	require.Equal(t, 2*time.Second, RetryAfter(http.Header{"Retry-After": {"soon", "2"}}, noon), "the first that can be read counts")
}

func TestADateIsComparedWithTheBackendsClock(t *testing.T) {
	h := http.Header{"Retry-After": {"Sun, 01 Mar 2026 12:00:20 GMT"}}
	require.Equal(t, 10*time.Second, Answer{Header: h, At: noon.Add(10 * time.Second)}.retryAfter())
	h.Set("Date", "Sun, 01 Mar 2026 12:00:15 GMT")
	require.Equal(t, 5*time.Second, Answer{Header: h, At: noon.Add(time.Hour)}.retryAfter())
}

func TestOtherHintsCountWhereThereIsNoRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"X-Poll-Interval: 60":        time.Minute,
		"X-Poll-Interval: 0":         0,
		"X-Poll-Interval: -1":        0,
		"X-Poll-Interval: 1e9":       0,
		"X-Poll-Interval: 99999999":  MaxRetryAfter,
		"Poll-Interval: 1500":        1500 * time.Millisecond,
		"Poll-Interval: 1":           MinRetryAfter,
		"Poll-Interval: soon":        0,
		"Poll-Interval: 99999999999": 0,
	} {
		name, value, _ := strings.Cut(header, ": ")
		h := http.Header{name: {value}}
		require.Equal(t, want, RetryAfter(h, time.Now()), header)
		h.Set("Retry-After", "3")
		require.Equal(t, 3*time.Second, RetryAfter(h, time.Now()), "Retry-After wins over %s", header)
	}
}

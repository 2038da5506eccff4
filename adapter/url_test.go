package adapter

import (
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testOrigin = origin{host: "api.example.com", scheme: "https", path: "/v1/jobs/new"}
	testHosts  = mustHosts(Options{
		AllowHosts: []string{"jobs.internal", "ported.internal:8443", "2001:db8::5", "[2001:db8::6]:90"},
		Upstreams:  []string{"job1:8000", "10.0.0.5:80"},
	})
)

func mustHosts(o Options) hosts {
	h, err := compileHosts(o)
	if err != nil {
		panic(err)
	}
	return h
}

// refusals are the reasons in testdata/urls.txt.
var refusals = map[string]error{
	"target": errURLNoTarget, "host": errURLHost, "user": errURLUser, "scheme": errURLScheme, "no host": errURLNoHost,
	"control": errURLControl, "dots": errDots, "syntax": errURLSyntax,
}

func TestStatusURLsLoseTheirAuthorityOrAreRefused(t *testing.T) {
	file, err := os.ReadFile("testdata/urls.txt")
	require.NoError(t, err)
	accepted, refused := 0, 0
	for line := range strings.Lines(string(file)) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "#") {
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		require.NoError(t, err, line)
		raw, err := strconv.Unquote(quoted)
		require.NoError(t, err, line)
		want := strings.TrimPrefix(line, quoted+" ")
		got, err := testHosts.accept(raw, testOrigin)
		if why, ok := strings.CutPrefix(want, "refused: "); ok {
			refused++
			require.Contains(t, refusals, why, line)
			require.ErrorIs(t, err, refusals[why], "%s gives %q", line, got)
			continue
		}
		accepted++
		require.NoError(t, err, line)
		require.Equal(t, want, got, line)
		requireHarmlessURL(t, got)
	}
	t.Logf("%d URLs: %d accepted, %d refused", accepted+refused, accepted, refused)
	require.Greater(t, accepted+refused, 200)
}

func TestAStatusURLHasABound(t *testing.T) {
	for _, raw := range []string{"/" + strings.Repeat("a", maxURL), "/" + strings.Repeat("é", maxURL/4)} {
		_, err := testHosts.accept(raw, testOrigin)
		require.ErrorIs(t, err, errLong)
	}
}

func TestARelativeURLNeedsNoGoodOrigin(t *testing.T) {
	for _, path := range []string{"", "*", "//evil.example/x", "http://evil.example/x", "/%zz", "//a@", "?x", "mailto:a"} {
		got, err := testHosts.accept("jobs/1", origin{path: path})
		require.NoError(t, err, path)
		require.Equal(t, "/jobs/1", got, path)
	}
}

func TestARefusedURLIsRedacted(t *testing.T) {
	for raw, want := range map[string]string{
		"https://user:pw@evil.example/a?token=x#y": "https://evil.example/a",
		"//u:p@evil.example?x":                     "//evil.example",
		"/a\r\nb":                                  "/a%0D%0Ab",
		"https://a@b@c/d":                          "https://c/d",
	} {
		require.Equal(t, want, redact(raw))
	}
	require.LessOrEqual(t, len(redact("/"+strings.Repeat("x", 5000))), 200)
}

func TestIDsCannotLeaveTheirPlace(t *testing.T) {
	target, err := parseTarget("/a/{job_id}/x?id={job_id}&f=1")
	require.NoError(t, err)
	for id, want := range map[string]string{
		"7": "/a/7/x?id=7&f=1", "a/b": "/a/a%2Fb/x?id=a%2Fb&f=1", "a?b#c": "/a/a%3Fb%23c/x?id=a%3Fb%23c&f=1", "a&f=2": "/a/a&f=2/x?id=a%26f%3D2&f=1", "a b+c": "/a/a%20b+c/x?id=a%20b%2Bc&f=1",
		"%2e%2": "/a/%252e%252/x?id=%252e%252&f=1", "é": "/a/%C3%A9/x?id=%C3%A9&f=1", "...": "/a/.../x?id=...&f=1", "dag:2024-01-01T00:00:00+00:00": "/a/dag:2024-01-01T00:00:00+00:00/x?id=dag%3A2024-01-01T00%3A00%3A00%2B00%3A00&f=1",
		"a\\b": "/a/a%5Cb/x?id=a%5Cb&f=1", "{job_id}": "/a/%7Bjob_id%7D/x?id=%7Bjob_id%7D&f=1", "//x": "/a/%2F%2Fx/x?id=%2F%2Fx&f=1", strings.Repeat("a", maxID): "/a/" + strings.Repeat("a", maxID) + "/x?id=" + strings.Repeat("a", maxID) + "&f=1",
	} {
		got, err := target.expandTarget(captured{jobID: id})
		require.NoError(t, err, "%q", id)
		require.Equal(t, want, got)
		parsed, err := url.ParseRequestURI(got)
		require.NoError(t, err)
		require.Equal(t, id, parsed.Query().Get("id"), "the id does not come back as it was")
	}
	for _, id := range []string{"", ".", "..", "a/../b", "../b", "a/.", `..\b`, "..;x", "%2e%2e", "%2E.", "a/%2e%2e/b", "a\x00b", "a\r\nb", "a\nb", "a\x7f", "a\u0085b", "\xff", "a\uFFFDb", strings.Repeat("a", maxID+1)} {
		_, err := target.expandTarget(captured{jobID: id})
		require.Error(t, err, "%q", id)
	}
	sparse, err := parseTarget("/a/.{job_id}")
	require.NoError(t, err)
	_, err = sparse.expandTarget(captured{jobID: "x"})
	require.NoError(t, err)
	_, err = sparse.expandTarget(captured{jobID: ";x"})
	require.Error(t, err, "the literal and the id together are a dot segment")
}

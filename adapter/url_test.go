package adapter

import (
	"net/url"
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

func TestStatusURLsLoseTheirAuthority(t *testing.T) {
	for raw, want := range map[string]string{
		// Relative: resolved against the path of the submit.
		"/jobs/1": "/jobs/1", "1": "/v1/jobs/1", "./1": "/v1/jobs/1", "../1": "/v1/1", "?id=1": "/v1/jobs/new?id=1", "/jobs/1?a=b&c": "/jobs/1?a=b&c", "/jobs/1#top": "/jobs/1", " /jobs/1\t": "/jobs/1",
		"/a/../b": "/b", "/../../../b": "/b", "/a/./b/": "/a/b/", "../../../../etc": "/etc", "/a//b": "/a//b", "/": "/", "/jobs/..": "/", "/a?x=/../y": "/a?x=/../y", "/jobs/1?": "/jobs/1",
		// Escapes stay as they are; what cannot stand in a request line is escaped.
		"/a%2Fb": "/a%2Fb", "/a%20b": "/a%20b", "/jobs/é": "/jobs/%C3%A9", "/jobs/1?q=é": "/jobs/1?q=%C3%A9", "/jobs/a:b": "/jobs/a:b", "/jobs/1?u=%0d%0a": "/jobs/1?u=%0d%0a", "/..//evil.example": "/evil.example", "/a..b/...": "/a..b/...",
		// Our own host, whatever the scheme.
		"https://api.example.com/jobs/1": "/jobs/1", "http://api.example.com/jobs/1": "/jobs/1", "https://API.Example.COM/jobs/1": "/jobs/1", "https://api.example.com:443/x": "/x", "http://api.example.com:80/x": "/x",
		"//api.example.com/x": "/x", "https://api.example.com": "/", "https://api.example.com?x=1": "/?x=1", "https://api.example.com/a/../../b": "/b", "HTTPS://api.example.com/x": "/x",
		// The backend's addresses, allow_host and loopback.
		"http://job1:8000/x": "/x", "http://10.0.0.5/x": "/x", "http://10.0.0.5:80/x": "/x", "http://jobs.internal/x": "/x", "http://jobs.internal:9999/x": "/x", "https://ported.internal:8443/x": "/x",
		"http://localhost/x": "/x", "http://localhost:9000/x": "/x", "http://LOCALHOST:9000/x": "/x", "http://127.0.0.1:9000/x": "/x", "http://127.8.9.10/x": "/x", "http://[::1]:80/x": "/x", "http://[0:0:0:0:0:0:0:1]/x": "/x",
		"http://[2001:db8::5]/x": "/x", "http://[2001:DB8:0::5]:77/x": "/x", "http://[2001:db8::6]:90/x": "/x",
	} {
		got, err := testHosts.accept(raw, testOrigin)
		require.NoError(t, err, "%q", raw)
		require.Equal(t, want, got, "%q", raw)
	}
}

func TestStatusURLsOfOthersAreRefused(t *testing.T) {
	for raw, want := range map[string]error{
		"": errURLNoTarget, "  ": errURLNoTarget,
		// Other hosts.
		"http://evil.example/x": errURLHost, "//evil.example/x": errURLHost, "http://169.254.169.254/latest/meta-data": errURLHost, "https://api.example.com.evil.example/x": errURLHost, "https://evil.example/?https://api.example.com/": errURLHost,
		"https://evil.example#@api.example.com/": errURLHost, "https://xapi.example.com/": errURLHost, "https://api.example.com:8443/x": errURLHost, "https://api.example.com./x": errURLHost, "http://job1/x": errURLHost, "http://job1:8001/x": errURLHost,
		"https://ported.internal/x": errURLHost, "http://10.0.0.5:8080/x": errURLHost, "https://10.0.0.5/x": errURLHost, "http://localhost.evil.example/": errURLHost, "http://[2001:db8::6]/x": errURLHost, "http://0.0.0.0/": errURLHost, "http://[::]/": errURLHost,
		// Loopback in disguise.
		"http://2130706433/": errURLHost, "http://0177.0.0.1/": errURLHost, "http://0x7f.0.0.1/": errURLHost, "http://127.1/": errURLHost, "http://127.0.0.1./": errURLHost, "http://[::ffff:127.0.0.1]/": errURLHost, "http://[::1%25eth0]/": errURLHost,
		"http://①②⑦.0.0.1/": errURLHost, "http://localhost:/x": errURLHost, "http://[::ffff:a00:5]/": errURLHost,
		// Credentials.
		"https://user@api.example.com/x": errURLUser, "https://user:pw@api.example.com/x": errURLUser, "https://@api.example.com/x": errURLUser, "https://api.example.com@evil.example/": errURLUser, "//u@api.example.com/": errURLUser,
		// Other schemes, and none that can be used.
		"ftp://api.example.com/x": errURLScheme, "file:///etc/passwd": errURLScheme, "javascript:alert(1)": errURLScheme, "unix:/run/x.sock": errURLScheme, "gopher://localhost/x": errURLScheme, "a:b": errURLScheme, "localhost:8000/x": errURLScheme,
		"http:/x": errURLNoHost, "http:x": errURLNoHost, "http:///x": errURLNoHost, "///x": errURLNoHost, "////evil.example": errURLNoHost, "https://": errURLNoHost, "https://api.example.com//evil.example/": errURLNoHost, "/%2Fevil": errURLNoHost,
		// Backslashes, spaces and control characters.
		`\\evil.example\x`: errURLControl, `/\evil.example`: errURLControl, `https:\\api.example.com`: errURLControl, "/a b": errURLControl, "/a\r\nX-Evil: 1": errURLControl, "/a\x00": errURLControl, "/a\x7f": errURLControl, "/a\u0085": errURLControl, "http://loc\talhost/": errURLControl,
		"/a%00": errURLControl, "/a%0d%0aX": errURLControl, "/a%5Cb": errURLControl,
		// Dot segments in disguise.
		"/a/%2e%2e/b": errDots, "/%252e%252e/x": errDots, "/a/.%2E/b": errDots, "/%2e/b": errDots, "/a%2f..%2fb": errDots, "/a/..%2fb": errDots, "/a/..;x/b": errDots, "/a/%2e%2e;/b": errDots, "/a%5c..%5cb": errDots, "..%2f..": errDots,
		// No URLs.
		"/%zz": errURLSyntax, "http://[::1/x": errURLSyntax, "http://localhost:port/": errURLSyntax, "http://%41pi.example.com/": errURLSyntax, "%": errURLSyntax, ":": errURLSyntax,
		"/" + strings.Repeat("a", maxURL): errLong, "/" + strings.Repeat("é", maxURL/4): errLong,
	} {
		got, err := testHosts.accept(raw, testOrigin)
		require.ErrorIs(t, err, want, "%q gives %q", raw, got)
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

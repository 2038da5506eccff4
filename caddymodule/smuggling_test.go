package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// speak sends bytes to Caddy on a connection of their own.
func (s *site) speak(bytes string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	_, err = io.WriteString(c, bytes)
	if err != nil {
		require.ErrorContains(s.t, err, "reset") // Caddy left without reading all
	}
	return c
}

// hear returns what comes back, until Caddy closes the connection.
func (s *site) hear(c net.Conn) string {
	s.t.Helper()
	defer c.Close()
	return s.hearUntil(c, func(string) bool { return false })
}

// hearUntil returns what comes back until it is enough, or Caddy closes the connection.
func (s *site) hearUntil(c net.Conn, enough func(answers string) bool) string {
	s.t.Helper()
	require.NoError(s.t, c.SetReadDeadline(time.Now().Add(patience)))
	var answers []byte
	for chunk := make([]byte, 4096); !enough(string(answers)); {
		n, err := c.Read(chunk)
		answers = append(answers, chunk[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			require.ErrorContains(s.t, err, "reset", "there was no end to it")
			break
		}
	}
	return string(answers)
}

// says sends bytes, and no more, and returns what comes back. The end comes after so many
// answers with an intent: to the server the client has left then, and it need not begin
// what has not begun.
func (s *site) says(bytes string, intents int) string {
	s.t.Helper()
	c := s.speak(bytes)
	answers := s.hearUntil(c, func(answers string) bool { return strings.Count(answers, intentID) >= intents })
	_ = c.(*net.TCPConn).CloseWrite() // it may be closed
	return answers + s.hear(c)
}

// intentID begins the header of an answer that has an intent.
const intentID = "\r\nIntent-Id: "

// ledger returns the intents in the store, by the ids of their jobs. Caddy is stopped.
func (s *site) ledger() map[string]intent.Intent {
	s.t.Helper()
	require.NoError(s.t, caddy.Stop())
	st, err := boltstore.Open(s.store, boltstore.Options{})
	require.NoError(s.t, err)
	defer st.Close()
	kept := make(map[string]intent.Intent)
	for f := (store.Filter{Limit: 100}); ; {
		page, err := st.List(s.t.Context(), f)
		require.NoError(s.t, err)
		for _, in := range page.Intents {
			require.NotContains(s.t, kept, in.JobID, "two intents of one job")
			kept[in.JobID] = in
		}
		if page.Next == (intent.ID{}) {
			return kept
		}
		f.Before = page.Next
	}
}

// requireSameLedger checks that the backend has the jobs that the store has, no other.
func (s *site) requireSameLedger() {
	s.t.Helper()
	kept := s.ledger()
	for _, j := range s.backend.Jobs() {
		require.Contains(s.t, kept, j.ID, "the backend has a job that nobody wrote down: %+v", j)
		delete(kept, j.ID)
	}
	require.Empty(s.t, kept, "no job is behind these")
}

// What the vectors are made of.
const (
	submitHead = "POST /reports/generate HTTP/1.1\r\nHost: a\r\n"
	smuggled   = "POST /reports/generate HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
	chunked    = "Transfer-Encoding: chunked\r\n"
	hello      = "5\r\nhello\r\n0\r\n\r\n"
)

// vectors are bytes that servers and proxies can understand as one request or as two.
// Jobs are how many of them may start.
var vectors = map[string]struct {
	bytes string
	jobs  int
}{
	"one":                               {submitHead + "Content-Length: 5\r\n\r\nhello", 1},
	"one in chunks":                     {submitHead + chunked + "\r\n" + hello, 1},
	"two, one after the other":          {submitHead + "Content-Length: 5\r\n\r\nhello" + submitHead + "Content-Length: 2\r\n\r\n{}", 2},
	"one without a length, then one":    {submitHead + "\r\n" + submitHead + "Content-Length: 0\r\n\r\n", 2},
	"one in the body of one":            {submitHead + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(smuggled)) + smuggled, 1},
	"one in a chunk of one":             {submitHead + chunked + fmt.Sprintf("\r\n%x\r\n", len(smuggled)) + smuggled + "\r\n0\r\n\r\n", 1},
	"CL.TE":                             {submitHead + "Content-Length: 6\r\n" + chunked + "\r\n0\r\n\r\nG" + smuggled, 1},
	"CL.TE, with one behind":            {submitHead + fmt.Sprintf("Content-Length: %d\r\n", 5+len(smuggled)) + chunked + "\r\n0\r\n\r\n" + smuggled, 2},
	"TE.CL":                             {submitHead + chunked + "Content-Length: 4\r\n\r\n" + fmt.Sprintf("%x\r\n", len(smuggled)) + smuggled + "\r\n0\r\n\r\n", 1},
	"TE.TE, the second unknown":         {submitHead + chunked + "Transfer-Encoding: x\r\n\r\n" + hello + smuggled, 0},
	"TE.TE, the first unknown":          {submitHead + "Transfer-Encoding: x\r\n" + chunked + "\r\n" + hello + smuggled, 0},
	"TE.TE, both chunked":               {submitHead + chunked + chunked + "\r\n" + hello + smuggled, 0},
	"TE as a list":                      {submitHead + "Transfer-Encoding: chunked, identity\r\n\r\n" + hello + smuggled, 0},
	"TE with gzip":                      {submitHead + "Transfer-Encoding: gzip, chunked\r\n\r\n" + hello + smuggled, 0},
	"TE of identity":                    {submitHead + "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello" + smuggled, 0},
	"TE with a vertical tab":            {submitHead + "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n" + hello, 0},
	"TE with a space before the colon":  {submitHead + "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n" + hello, 0},
	"TE with a tab":                     {submitHead + "Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n" + hello, 1},
	"TE in quotes":                      {submitHead + "Transfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\n" + hello, 0},
	"TE in capitals":                    {submitHead + "TRANSFER-ENCODING: CHUNKED\r\n\r\n" + hello, 1},
	"TE with a parameter":               {submitHead + "Transfer-Encoding: chunked;q=1\r\n\r\n" + hello, 0},
	"TE on a folded line":               {submitHead + "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", 1},
	"TE behind a bare CR":               {submitHead + "X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", 0},
	"TE behind a bare LF":               {submitHead + "X: y\nTransfer-Encoding: chunked\r\n\r\n" + hello, 1},
	"TE behind a NUL":                   {submitHead + "X: y\x00\r\nTransfer-Encoding: chunked\r\n\r\n" + hello, 0},
	"TE in HTTP/1.0":                    {"POST /reports/generate HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n" + chunked + "\r\n" + hello, 1},
	"two lengths":                       {submitHead + "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello" + smuggled, 0},
	"two equal lengths":                 {submitHead + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 1},
	"a list of lengths":                 {submitHead + "Content-Length: 5, 5\r\n\r\nhello", 0},
	"a length with a sign":              {submitHead + "Content-Length: +5\r\n\r\nhello" + smuggled, 0},
	"a negative length":                 {submitHead + "Content-Length: -5\r\n\r\nhello" + smuggled, 0},
	"a length in hex":                   {submitHead + "Content-Length: 0x5\r\n\r\nhello" + smuggled, 0},
	"a length with a space in it":       {submitHead + "Content-Length: 5 0\r\n\r\nhello" + smuggled, 0},
	"a length beyond all":               {submitHead + "Content-Length: 99999999999999999999\r\n\r\nhello", 0},
	"a length with an underscore":       {submitHead + "Content_Length: 0\r\nContent-Length: 5\r\n\r\nhello", 1},
	"a length that is not met":          {submitHead + "Content-Length: 500\r\n\r\nhello", 0},
	"a chunk with an extension":         {submitHead + chunked + "\r\n5;a=\"b\r\nhello\r\n0\r\n\r\n", 1},
	"a chunk whose extension has an LF": {submitHead + chunked + "\r\n5;\nhello\r\n0\r\n\r\n" + smuggled, 0},
	"a chunk size in hex with 0x":       {submitHead + chunked + "\r\n0x5\r\nhello\r\n0\r\n\r\n", 0},
	"a chunk size with a sign":          {submitHead + chunked + "\r\n+5\r\nhello\r\n0\r\n\r\n", 0},
	"a chunk size beyond all":           {submitHead + chunked + "\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n", 0},
	"a chunk longer than its size":      {submitHead + chunked + "\r\n3\r\nhello\r\n0\r\n\r\n" + smuggled, 0},
	"a chunk that ends in LF":           {submitHead + chunked + "\r\n5\nhello\n0\n\n", 0},
	"a last chunk that is missing":      {submitHead + chunked + "\r\n5\r\nhello\r\n", 0},
	"trailers that are headers":         {submitHead + chunked + "\r\n5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: b\r\n\r\n", 1},
	"a trailer that is a request":       {submitHead + chunked + "\r\n5\r\nhello\r\n0\r\n" + smuggled, 0},
	"an absolute form":                  {"POST http://a/reports/generate HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello", 1},
	"an absolute form elsewhere":        {"POST http://169.254.169.254/reports/generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 1},
	"an authority with a user":          {"POST http://u:p@a/reports/generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 1},
	"two hosts":                         {submitHead + "Host: b\r\nContent-Length: 5\r\n\r\nhello", 0},
	"no host":                           {"POST /reports/generate HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 0},
	"a host with a path":                {"POST /reports/generate HTTP/1.1\r\nHost: a/b\r\nContent-Length: 5\r\n\r\nhello", 0},
	"HTTP/0.9":                          {"POST /reports/generate\r\n\r\n" + smuggled, 0},
	"HTTP/2 in words":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled, 0},
	"HTTP/1.2":                          {"POST /reports/generate HTTP/1.2\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 1},
	"HTTP/9.9":                          {"POST /reports/generate HTTP/9.9\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 0},
	"bare LF":                           {"POST /reports/generate HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", 1},
	"bare CR":                           {"POST /reports/generate HTTP/1.1\rHost: a\rContent-Length: 5\r\rhello", 0},
	"a method with a space":             {"POST\t/reports/generate HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	"a method in small letters":         {"post /reports/generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 0},
	"a target with a request in it":     {"POST /reports/generate%0d%0aHost:%20b%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	"a query with a request in it":      {"POST /reports/generate?a=%0d%0a%0d%0aPOST%20/reports/generate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1},
	"a target with a space":             {"POST /reports/generate /x HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	"a submit after a stream":           {"GET /v1/intents/events/stream?id=x HTTP/1.1\r\nHost: a\r\n\r\n" + submitHead + "Content-Length: 5\r\n\r\nhello", 1},
	"a submit in a GET's body":          {fmt.Sprintf("GET /reports/status/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(smuggled)) + smuggled, 0},
	"a submit in a DELETE's body":       {fmt.Sprintf("DELETE /v1/intents/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(smuggled)) + smuggled, 0},
	"a submit behind an upgrade":        {"GET /reports/status/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + smuggled, 1},
	"a submit that is an upgrade":       {submitHead + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello", 1},
	"a length that the hop drops":       {submitHead + "Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", 1},
	"a TE that the hop drops":           {submitHead + "Connection: Transfer-Encoding\r\n" + chunked + "\r\n" + hello, 1},
	"a CONNECT":                         {"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + smuggled, 1},
	"Expect":                            {submitHead + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 1},
	"Expect of something else":          {submitHead + "Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", 0},
}

func TestTheBackendSeesWhatTheLedgerHas(t *testing.T) {
	for name, how := range map[string]string{"inline": report, "queued": inQueue(report, ""), "written ahead": strings.Replace(report, "poll 100ms", "respond intent\npoll 100ms", 1)} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.toEveryHost()
			s.serve(how)
			for name, v := range vectors {
				before := len(s.backend.Jobs())
				answers := s.says(v.bytes, v.jobs)
				told := strings.Count(answers, intentID)
				require.Equal(t, v.jobs, told, "%s: intents in\n%s", name, answers)
				require.Eventually(t, func() bool { return len(s.backend.Jobs()) == before+told }, patience, time.Millisecond, "%s: jobs at the backend", name)
			}
			for _, a := range s.backend.Asked() {
				require.NotContains(t, a.Header, "Transfer-Encoding")
			}
			for _, j := range s.backend.Jobs() {
				require.Contains(t, []string{"hello", "{}", "", smuggled, "5\r\nhe"}, j.Body)
			}
			s.backend.EveryJobSays(legacytest.Status{State: "done"})
			s.requireSameLedger()
			t.Logf("%d vectors, %d jobs", len(vectors), len(s.backend.Jobs()))
		})
	}
}

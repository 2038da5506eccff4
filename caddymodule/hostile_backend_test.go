package caddymodule_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// A wire is a backend without a server of HTTP: what it answers is bytes, right or
// wrong. An answer may go on until it is cut off. A submit makes a job by the name that
// is its body.
type wire struct {
	addr string

	mu     sync.Mutex
	submit func(io.Writer)            // instead of naming the job, if set
	status map[string]func(io.Writer) // by job
	polls  map[string]int
	conns  map[net.Conn]bool
}

func newWire(t *testing.T) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{addr: l.Addr().String(), status: make(map[string]func(io.Writer)), polls: make(map[string]int), conns: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.conns[c] = true
			w.mu.Unlock()
			running.Go(func() { w.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for c := range w.conns { // idle ones of a proxy
			c.Close()
		}
		w.mu.Unlock()
		running.Wait()
	})
	return w
}

func (w *wire) serve(c net.Conn) {
	defer func() {
		c.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.conns, c)
	}()
	for in := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.answer(r, string(body))(c)
	}
}

func (w *wire) answer(r *http.Request, body string) func(io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Method == http.MethodPost && w.submit != nil {
		return w.submit
	}
	if r.Method == http.MethodPost {
		return whole("202 Accepted", "", `{"job_id":"`+body+`","status":"pending"}`)
	}
	job := path.Base(r.URL.Path)
	w.polls[job]++
	if answer := w.status[job]; answer != nil {
		return answer
	}
	return whole("404 Not Found", "", "{}")
}

// says sets what a job answers.
func (w *wire) says(job string, answer func(io.Writer)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status[job] = answer
}

func (w *wire) polled(job string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.polls[job]
}

const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

const wireJob = `{"job_id":"7","status":"running"}`

// whole is an answer as it should be, with these header lines.
func whole(status, lines, body string) func(io.Writer) {
	return raw(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), lines, body))
}

func raw(text string) func(io.Writer) {
	return func(w io.Writer) { _, _ = io.WriteString(w, text) }
}

// endless goes on with more after a beginning, until nobody reads it.
func endless(begin, more string) func(io.Writer) {
	chunk := strings.Repeat(more, 1+(64<<10)/len(more))
	return func(w io.Writer) {
		_, err := io.WriteString(w, begin)
		for err == nil {
			_, err = io.WriteString(w, chunk)
		}
	}
}

// dripping begins an answer, and goes on byte by byte until nobody reads it.
func dripping(begin, drop string) func(io.Writer) {
	return func(w io.Writer) {
		_, err := io.WriteString(w, begin)
		for err == nil {
			_, err = io.WriteString(w, drop)
			<-time.After(50 * time.Millisecond)
		}
	}
}

func encoded(coding, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", coding, len(body), body)
}

// The status object with 64 MiB of white space in it, small. What is not gzip was not
// asked for, and nobody here can undo it.
func bomb(t *testing.T, coding string) string {
	var b bytes.Buffer
	var z io.WriteCloser
	switch coding {
	case "gzip":
		z = gzip.NewWriter(&b)
	case "deflate":
		z = zlib.NewWriter(&b)
	case "br": // of 64 MiB of zeros
		text, err := base64.StdEncoding.DecodeString(brotliBomb)
		require.NoError(t, err)
		return string(text)
	case "zstd": // a frame of 512 blocks, each one byte 128 Ki times (RFC 8878, section 3.1.1)
		const block = 128 << 10
		head := block<<3 | 1<<1
		b.WriteString("\x28\xb5\x2f\xfd\x00\x70")
		for range 512 {
			b.Write([]byte{byte(head), byte(head >> 8), byte(head >> 16), ' '})
		}
		return b.String()
	}
	_, err := io.WriteString(z, `{"status":"done"`+strings.Repeat(" ", 64<<20)+`}`)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.String()
}

const brotliBomb = "y///P/gnAOKxQCD3/o///3/wTwDEYRGA7v0f////4J8AiMMCAN37P/7//8E/ARCHBQC693/8//+DfwIgDgsAdO//+P//B/8EQBwWAOje//H//w/+CYA4LADQvf/L//8//BMAcVgAoHv/Bw=="

// wired is the usual job on a wire, given up soon, beside one on the good backend.
func wired(w *wire) string {
	return strings.NewReplacer("intents TO {", "intents "+w.addr+" {\nname wired\npath /wired", "first 50ms", "first 50ms\ngive_up 1s\ntimeout 400ms\nmax_interval 100ms",
		"/reports/", "/wire/", "job report", "job wire").Replace(report) + "\n" + report
}

// heap is what is in use after a collection, in MiB.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc >> 20)
}

// logged is a global option that has everything logged to a file as a terminal would
// show it.
func (s *site) logged() (file string) {
	file = filepath.Join(s.t.TempDir(), "log")
	s.options = "log {\noutput file " + file + "\nlevel DEBUG\nformat console {\nlevel_format upper\n}\n}"
	return file
}

var logLine = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d`)

// requireLinesOfOurs checks that nobody else wrote a line of a log, or moved a cursor.
func requireLinesOfOurs(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotEmpty(t, text)
	for line := range strings.Lines(string(text)) {
		require.Regexp(t, logLine, line)
		require.NotRegexp(t, "[\x00-\x08\x0b-\x1f\x7f\u0085\u2028\u2029]", strings.TrimSuffix(line, "\n"))
	}
}

// A vector is an answer to polls, and what becomes of the intent.
type vector struct {
	answer func(io.Writer)
	ends   string
}

const (
	unreadable = "FAILED, for it cannot be read"
	waits      = "waiting for the backend"
	runs       = "IN_PROGRESS"
)

// meet has a job for each vector, all at the same time, and then lets those end that go
// on.
func (s *site) meet(w *wire, vectors map[string]vector) {
	ids := make(map[string]string)
	for name, v := range vectors {
		job := strings.ReplaceAll(name, " ", "-")
		w.says(job, v.answer)
		resp := s.do("POST", "/wire/generate", job)
		ids[name] = resp.Header.Get("Intent-Id")
		require.NotEmpty(s.t, ids[name], "%s: %d %s", name, resp.StatusCode, text(s.t, resp))
	}
	for name, v := range vectors {
		s.t.Run(name, func(t *testing.T) {
			job, o := strings.ReplaceAll(name, " ", "-"), s.observeAt("/wired/", ids[name])
			o.t = t
			switch v.ends {
			case unreadable:
				last := o.until(intent.Failed)
				require.Equal(t, intent.CodeUnreadable, last[len(last)-1].Details.Error.Code)
			case waits:
				o.untilWaiting("backend")
			case runs:
				before := w.polled(job)
				require.Eventually(t, func() bool { return w.polled(job) > before+1 }, patience, 10*time.Millisecond)
				require.Contains(t, text(t, s.do("GET", "/wired/"+ids[name], "")), `"status":"IN_PROGRESS"`)
			}
		})
	}
	s.backend.EveryJobSays(legacytest.Status{State: "done"})
	other, _ := s.submit()
	s.observe(other).until(intent.Completed)
	for name := range vectors {
		w.says(strings.ReplaceAll(name, " ", "-"), whole("200 OK", "", `{"status":"done"}`))
	}
	for name, v := range vectors {
		if v.ends != unreadable {
			s.observeAt("/wired/", ids[name]).until(intent.Completed)
		}
	}
}

// TestWhatABackendSendsEndsInAReason: whatever it is, the intent ends or waits, with a
// reason; others are served; nothing of it stays in memory.
func TestWhatABackendSendsEndsInAReason(t *testing.T) {
	deep := strings.Repeat("[", 400<<10)
	vectors := map[string]vector{
		"a body without an end":                {endless(ok+"\r\n"+`{"status":"`, "x"), unreadable},
		"chunks without an end":                {endless(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"), unreadable},
		"a chunk size without an end":          {endless(ok+"Transfer-Encoding: chunked\r\n\r\n", "0"), unreadable},
		"a chunk extension without an end":     {endless(ok+"Transfer-Encoding: chunked\r\n\r\n1", ";x"), unreadable},
		"headers without an end":               {endless(ok, "X-A: b\r\n"), waits},
		"one header without an end":            {endless(ok+"X-A: ", "b"), waits},
		"a status line without an end":         {endless("HTTP/1.1 200 ", "O"), waits},
		"trailers without an end":              {endless(ok+"Transfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: b\r\n"), unreadable},
		"100 without an end":                   {endless("", "HTTP/1.1 100 Continue\r\n\r\n"), waits},
		"102 without an end":                   {endless("", "HTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n"), waits},
		"103 without an end":                   {endless("", "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"), waits},
		"gzip without an end":                  {endless(ok+"Content-Encoding: gzip\r\n\r\n", bomb(t, "gzip")), unreadable},
		"a bomb of gzip":                       {raw(encoded("gzip", bomb(t, "gzip"))), unreadable},
		"a bomb of deflate":                    {raw(encoded("deflate", bomb(t, "deflate"))), unreadable},
		"a bomb of br":                         {raw(encoded("br", bomb(t, "br"))), unreadable},
		"a bomb of zstd":                       {raw(encoded("zstd", bomb(t, "zstd"))), unreadable},
		"a gzip in a gzip":                     {raw(encoded("gzip, gzip", bomb(t, "gzip"))), unreadable},
		"gzip that is none":                    {raw(encoded("gzip", `{"status":"done"}`)), unreadable},
		"a body in drops":                      {dripping(ok+"Content-Length: 10000\r\n\r\n{", " "), unreadable},
		"a head in drops":                      {dripping(ok+"X-A: ", "b"), waits},
		"nesting of lists":                     {whole("200 OK", "", `{"status":"running","x":`+deep+strings.Repeat("]", len(deep))+"}"), unreadable},
		"nesting of objects":                   {whole("200 OK", "", strings.Repeat(`{"a":`, 100<<10)), unreadable},
		"nesting of elements":                  {whole("200 OK", "", strings.Repeat("<a>", 100<<10)), unreadable},
		"entities of XML":                      {whole("200 OK", "", `<!DOCTYPE j [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><job><status>&b;</status></job>`), unreadable},
		"a number of half a megabyte":          {whole("200 OK", "", `{"status":"running","percent":`+strings.Repeat("9", 512<<10)+`}`), runs},
		"a number beyond all":                  {whole("200 OK", "", `{"status":"running","percent":1e999999999}`), runs},
		"keys twice":                           {whole("200 OK", "", `{"status":"done","status":"running","status":"running"}`), runs},
		"many keys":                            {whole("200 OK", "", `{"status":"running"`+strings.Repeat(`,"a":1`, 100<<10)+`}`), runs},
		"no UTF-8":                             {whole("200 OK", "", "{\"status\":\"running\",\"message\":\"\xff\xfe\xed\xa0\x80\"}"), runs},
		"controls in words":                    {whole("200 OK", "", `{"status":"\u0000\r\n\u001b[2J","message":"\u0000\r\nid: 1\r\n\r\n\u2028\u0085\u001b"}`), runs},
		"hop-by-hop headers and cookies":       {whole("200 OK", "Connection: close, X-A\r\nX-A: b\r\nKeep-Alive: timeout=99999999999\r\nSet-Cookie: a=b\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n", wireJob), runs},
		"another protocol":                     {raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), waits},
		"another protocol without a name":      {raw("HTTP/1.1 101 Switching Protocols\r\n\r\n"), waits},
		"trailers that say otherwise":          {raw(ok + "Transfer-Encoding: chunked\r\nTrailer: Location, Retry-After\r\n\r\n21\r\n" + wireJob + "\r\n0\r\nLocation: http://127.0.0.2/\r\nRetry-After: 1e9\r\n\r\n"), runs},
		"two lengths":                          {raw(ok + "Content-Length: 33\r\nContent-Length: 5\r\n\r\n" + wireJob), waits},
		"a list of lengths":                    {raw(ok + "Content-Length: 33, 5\r\n\r\n" + wireJob), waits},
		"a negative length":                    {raw(ok + "Content-Length: -1\r\n\r\n" + wireJob), waits},
		"a length beyond all":                  {raw(ok + "Content-Length: 99999999999999999999\r\n\r\n" + wireJob), waits},
		"a length that is too long":            {raw(ok + "Content-Length: 999999\r\n\r\n" + wireJob), unreadable},
		"a length and chunks":                  {raw(ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n21\r\n" + wireJob + "\r\n0\r\n\r\n"), runs},
		"an unknown transfer coding":           {raw(ok + "Transfer-Encoding: gzip, chunked\r\n\r\n21\r\n" + wireJob + "\r\n0\r\n\r\n"), waits},
		"no HTTP":                              {raw("SSH-2.0-OpenSSH_9.6\r\n\x1b[31m\r\n"), waits},
		"an answer of HTTP 0.9":                {raw(`{"status":"done"}` + "\r\n"), waits},
		"a code beyond all":                    {raw("HTTP/1.1 99999 X\r\n\r\n"), waits},
		"a header with a control in its name":  {raw(ok + "X\x00A: b\r\n\r\n"), waits},
		"a header with a control in its value": {whole("200 OK", "X-A: b\x00\x1b[31m\r\n", wireJob), waits},
		"a folded header":                      {whole("200 OK", "X-A: b\r\n Location: http://127.0.0.2/\r\n", wireJob), runs},
	}
	s, w := newSite(t), newWire(t)
	log := s.logged()
	s.serve(wired(w))
	begun := heap()
	s.meet(w, vectors)
	require.Less(t, heap()-begun, 24, "MiB")
	t.Logf("%d answers; the heap went from %d MiB to %d MiB", len(vectors), begun, heap())
	require.NoError(t, caddy.Stop())
	requireLinesOfOurs(t, log)
}

// What follows an answer on its connection can be taken for the answer to the next
// request on it, by any proxy in Go. docs/operations.md says what to write for a backend
// that does so.
func TestWhatFollowsAnAnswerAnswersNobodyWithoutKeepalive(t *testing.T) {
	s, w := newSite(t), newWire(t)
	log := s.logged()
	s.serve(strings.Replace(wired(w), "intents "+w.addr+" {", "intents {\nbackend {\nreverse_proxy "+w.addr+" {\ntransport http {\nkeepalive off\n}\n}\n}", 1))
	s.meet(w, map[string]vector{
		"a length that is too short":      {raw(ok + "Content-Length: 5\r\n\r\n" + wireJob), unreadable},
		"another answer after the answer": {raw(ok + "Content-Length: 33\r\n\r\n" + wireJob + ok + "Content-Length: 17\r\n\r\n{\"status\":\"done\"}"), runs},
		"garbage after the answer":        {raw(ok + "Content-Length: 33\r\n\r\n" + wireJob + "\x00\x1b]0;x\x07\r\n\r\n"), runs},
	})
	require.NoError(t, caddy.Stop())
	requireLinesOfOurs(t, log)
}

// TestWhatABackendAnswersToASubmitReachesOneClient: as it came, or not at all, with an
// intent where it names a job and can be read.
func TestWhatABackendAnswersToASubmitReachesOneClient(t *testing.T) {
	const accepted = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
	object := func(id string) func(io.Writer) { return whole("202 Accepted", "", `{"job_id":`+id+`}`) }
	coded := func(coding string) func(io.Writer) {
		return raw(strings.Replace(encoded(coding, bomb(t, coding)), "200 OK", "202 Accepted", 1))
	}
	vectors := map[string]struct {
		answer func(io.Writer)
		code   string
		intent bool
	}{
		"well, in drops":             {droplets(accepted + "Content-Length: 14\r\n\r\n{\"job_id\":\"7\"}"), "202", true},
		"many hints, then well":      {raw(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 500) + accepted + "Content-Length: 14\r\n\r\n{\"job_id\":\"7\"}"), "202", true},
		"hints without an end":       {endless("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), "502", false},
		"many headers":               {whole("202 Accepted", strings.Repeat("X-A: b\r\n", 100_000), `{"job_id":"7"}`), "202", true},
		"headers without an end":     {endless(accepted, "X-A: b\r\n"), "502", false},
		"a bomb of gzip":             {coded("gzip"), "202", false},
		"a bomb of deflate":          {coded("deflate"), "202", false},
		"a bomb of zstd":             {coded("zstd"), "202", false},
		"a bomb of br":               {coded("br"), "202", false},
		"a body without an end":      {endless(accepted+"\r\n{", " "), "202", false},
		"gzip without an end":        {endless(accepted+"Content-Encoding: gzip\r\n\r\n", bomb(t, "gzip")), "202", false},
		"an id of two lines":         {object(`"7\r\nX-Evil: 1\r\n\r\n"`), "202", false},
		"an id with a NUL":           {object(`"7\u0000"`), "202", false},
		"an id that is a dot":        {object(`".."`), "202", false},
		"an id with an escape":       {object(`"\u001b[31m"`), "202", false},
		"an id without an end":       {object(`"` + strings.Repeat("7", 100<<10) + `"`), "202", false},
		"a number beyond all":        {object(strings.Repeat("7", 100<<10)), "202", false},
		"an object as an id":         {object(`{"a":[1]}`), "202", false},
		"two ids":                    {whole("202 Accepted", "", `{"job_id":"1","job_id":"2"}`), "202", true},
		"an id in Latin-1":           {object("\"7\xe9\""), "202", false},
		"nested ids":                 {whole("202 Accepted", "", strings.Repeat(`{"job":`, 100<<10)), "202", false},
		"headers that are ours":      {whole("202 Accepted", "Intent-Id: forged\r\nIntent-Status: unavailable\r\n", `{"job_id":"7","note":"x"}`), "202", true},
		"a line in Location":         {raw(accepted + "Location: /a\r\n b\rX-Evil: 1\r\nContent-Length: 2\r\n\r\n{}"), "502", false},
		"two lengths":                {raw(accepted + "Content-Length: 14\r\nContent-Length: 5\r\n\r\n{\"job_id\":\"7\"}"), "502", false},
		"another protocol":           {raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), "200", false},
		"no HTTP":                    {raw("220 smtp.example ESMTP\r\n"), "502", false},
		"chunks that are none":       {raw(accepted + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "202", false},
		"trailers that name the job": {raw(accepted + "Transfer-Encoding: chunked\r\nTrailer: Location\r\n\r\n2\r\n{}\r\n0\r\nLocation: /status/7\r\n\r\n"), "202", false},
	}
	s, w := newSite(t), newWire(t)
	log := s.logged()
	s.serve(wired(w))
	begun := heap()
	for name, v := range vectors {
		w.mu.Lock()
		w.submit = v.answer
		w.mu.Unlock()
		answer := s.begins("POST /wire/generate HTTP/1.1\r\nHost: "+s.addr+"\r\nConnection: close\r\nAccept-Encoding: gzip, br, zstd\r\nContent-Length: 2\r\n\r\n{}", 2<<20)
		for strings.HasPrefix(answer, "HTTP/1.1 10") {
			_, answer, _ = strings.Cut(answer, "\r\n\r\n")
		}
		require.Equal(t, "HTTP/1.1 "+v.code, answer[:min(len(answer), 12)], name)
		head, _, _ := strings.Cut(answer, "\r\n\r\n")
		require.Equal(t, v.intent, strings.Contains(head, "\r\nIntent-Id: "), "%s: %s", name, head[:min(len(head), 1000)])
		require.NotContains(t, head, "X-Evil", name)
		if v.intent {
			require.NotContains(t, head, "forged", name)
		}
		id, _ := s.submit()
		require.NotEmpty(t, id)
	}
	require.Less(t, heap()-begun, 24, "MiB")
	t.Logf("%d answers; the heap went from %d MiB to %d MiB", len(vectors), begun, heap())
	require.NoError(t, caddy.Stop())
	requireLinesOfOurs(t, log)
}

// droplets is an answer that comes byte by byte, and ends.
func droplets(text string) func(io.Writer) {
	return func(w io.Writer) {
		for i := range text {
			if _, err := io.WriteString(w, text[i:i+1]); err != nil {
				return
			}
			<-time.After(5 * time.Millisecond)
		}
	}
}

// begins sends a request and returns up to so much of what comes back.
func (s *site) begins(request string, most int64) string {
	s.t.Helper()
	c := s.speak(request)
	defer c.Close()
	require.NoError(s.t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	answer, err := io.ReadAll(io.LimitReader(c, most))
	if err != nil {
		require.NotErrorIs(s.t, err, os.ErrDeadlineExceeded)
	}
	return string(answer)
}

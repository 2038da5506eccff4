package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// asks sends a request line and headers as they are, and returns the answers.
func (s *site) asks(method, target, body string, headers ...string) (code, answer string) {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, target, s.addr)
	for i := 0; i+1 < len(headers); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", headers[i], headers[i+1])
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	answer = s.hear(s.speak(b.String() + "\r\n" + body))
	_, code, _ = strings.Cut(answer, " ")
	code, _, _ = strings.Cut(code, " ")
	return code, answer
}

func TestNoPathLeadsAroundTheOwner(t *testing.T) {
	s := newSite(t)
	s.serve(owned)
	_, answer := s.asks("POST", "/reports/generate", `{}`, "X-User", "ada")
	_, id, _ := strings.Cut(answer, "Intent-Id: ")
	id, _, _ = strings.Cut(id, "\r\n")
	require.Len(t, id, 36, answer)
	code, answer := s.asks("GET", "/v1/intents/"+id, "", "X-User", "ada")
	require.Equal(t, "200", code, answer)

	tried := 0
	for _, way := range []string{
		"/v1/intents/ID", "//v1/intents/ID", "/v1//intents/ID", "/v1/intents//ID", "/V1/INTENTS/ID", "/v1/./intents/ID", "/v1/intents/./ID", "/x/../v1/intents/ID", "/v1/intents/../intents/ID",
		"/v1%2fintents/ID", "/v1/intents%2fID", "%2fv1/intents/ID", "/%76%31/intents/ID", "/v1/%2e/intents/ID", "/v1/intents/%2e%2e/intents/ID", "/v1/intents;x=y/ID", "/v1/intents/ID;x=y", "/v1/intents/ID%00",
		"/v1/intents/ID%20", "/v1/intents/ID/", "/v1/intents/ID/.", "/v1\\intents\\ID", "/v1/intents/ID/events", "/v1/intents/ID/events/stream", "/v1/intents/ID/events/stream/", "/v1/intents/ID/result", "/v1/intents/ID/resolve",
		"/v1/intents/events/stream?id=ID", "/v1/intents/events/stream?id=ID&id=ID", "/v1/intents/events/stream?ID=ID&id=ID", "/v1/intents?owner=ada", "/v1/intents?status=IN_PROGRESS", "/v1/intents/?X-User=ada",
		"http://SITE/v1/intents/ID", "http://ada@SITE/v1/intents/ID", "/reports/../v1/intents/ID", "/reports/status/../../v1/intents/ID", "/v1/intents/ID?token=x", "/v1/intents/ID?X-User=ada", "*",
	} {
		for _, method := range []string{"GET", "HEAD", "DELETE", "POST", "PUT", "PATCH", "OPTIONS", "get"} {
			for _, who := range [][]string{{}, {"X-User", "eve"}, {"X_User", "ada"}, {"X-User", ""}, {"X-User", "", "X-User", "ada"}, {"X-HTTP-Method-Override", "DELETE", "X-Original-URL", "/v1/intents/" + id, "X-Rewrite-URL", "/v1/intents/" + id}} {
				target := strings.NewReplacer("ID", id, "SITE", s.addr).Replace(way)
				code, answer := s.asks(method, target, "", who...)
				tried++
				require.NotContains(t, answer, "job-1", "%s %s %v", method, target, who)
				require.NotContains(t, answer, `"status":"IN_PROGRESS"`, "%s %s %v", method, target, who)
				require.NotContains(t, code, "50", "%s %s %v: %s", method, target, who, answer)
			}
		}
	}
	require.Zero(t, s.backend.Jobs()[0].Cancels)
	code, answer = s.asks("GET", "/v1/intents/"+id, "", "X-User", "ada")
	require.Equal(t, "200", code, answer)
	require.Contains(t, answer, `"status":"IN_PROGRESS"`)
	t.Logf("%d requests", tried)
}

// What we take for a submit the backend takes for one too, and the other way round, or it
// passes.
func TestASubmitIsTheSameToUsAndToTheBackend(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	for _, target := range []string{
		"/reports/generate", "/reports/generate?a=b", "/reports/generate?", "/reports/%67enerate", "/reports/generate/", "/reports//generate", "//reports/generate", "/./reports/generate", "/reports/x/../generate",
		"/reports/%2e/generate", "/reports/x/%2e%2e/generate", "/reports%2fgenerate", "/reports/generate%2f", "/Reports/Generate", "/reports/generate;x=y", "/reports/generate%00", "/reports/generate%20", "/reports/generate%0d%0a",
		"/reports\\generate", "/reports/generate#x", "/reports/generat%65?x=%", "http://SITE/reports/generate", "http://SITE:80/reports/generate", "/%72eports/generate", "/reports/g\xc3\xa9nerate",
	} {
		for _, method := range []string{"POST", "HEAD", "GET", "PUT", "post", "POST\x00"} {
			before := len(s.backend.Jobs())
			_, answer := s.asks(method, strings.Replace(target, "SITE", s.addr, 1), "", "X-HTTP-Method-Override", "DELETE", "X-Method-Override", "GET")
			started := len(s.backend.Jobs()) - before
			require.Equal(t, started, strings.Count(answer, "\r\nIntent-Id: "), "%s %s: %s", method, target, answer)
			require.LessOrEqual(t, started, 1)
			if started == 1 {
				require.Equal(t, "POST", method)
			}
		}
	}
	require.NotEmpty(t, s.backend.Jobs())
	s.requireSameLedger()
}

func TestWhatAClientWantsIsGivenOrRefused(t *testing.T) {
	for name, how := range map[string]string{"inline": report, "queued": inQueue(report, "")} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			log := s.logged()
			s.backend.EveryJobSays(legacytest.Status{State: "running"}, legacytest.Status{State: "done"})
			s.serve(how)
			s.wantsHeaders()
			s.wantsPlaces()
			s.wantsBodies()
			require.NoError(t, caddy.Stop())
			requireLinesOfOurs(t, log)
		})
	}
}

// wantsHeaders submits with headers of every kind.
func (s *site) wantsHeaders() {
	s.t.Helper()
	long, many := strings.Repeat("x", 4000), strings.Repeat("a/b;q=0.5, ", 3000)
	digits := strings.Repeat("9", 400)
	for _, header := range [][]string{
		{"Idempotency-Key", long}, {"Idempotency-Key", "a", "Idempotency-Key", "b"}, {"Idempotency-Key", "\x01"}, {"Idempotency-Key", "\xff\xfe"}, {"Idempotency-Key", `"`}, {"Idempotency-Key", ""},
		{"Prefer", "wait=-1"}, {"Prefer", "wait=" + digits}, {"Prefer", "wait=1e9"}, {"Prefer", "wait=NaN"}, {"Prefer", "wait"}, {"Prefer", "wait="}, {"Prefer", "wait=0x10"}, {"Prefer", strings.Repeat("wait=0,", 3000)},
		{"Accept", many}, {"Accept", ";;;,,,"}, {"Accept", "text/event-stream;q=" + digits}, {"Accept", "text/event-stream;q=-1"}, {"Accept", "text/event-stream;q=NaN"}, {"Accept", `text/event-stream;q="1`},
		{"Cancel-After", "-1"}, {"Cancel-After", "NaN"}, {"Cancel-After", "Inf"}, {"Cancel-After", "1e9"}, {"Cancel-After", digits}, {"Cancel-After", "0x10"}, {"Cancel-After", "+5"}, {"Cancel-After", "1h1h1h1h1h"},
		{"Cancel-After", "768614336404564651d"}, {"Cancel-After", "9223372036s"}, {"Cancel-After", "٣s"}, {"Cancel-After", " "}, {"Cancel-After", "5", "Cancel-After", "x"},
		{"Content-Type", "\xff"}, {"Content-Encoding", "gzip"}, {"Traceparent", long}, {"Origin", "null"}, {"X-Forwarded-Proto", "javascript"}, {"X-Forwarded-Host", "evil.example"}, {"Forwarded", "host=evil"}, {"Via", many},
		{"Connection", "Idempotency-Key, Host, Content-Length"}, {"TE", "trailers"}, {"Cookie", long},
	} {
		for _, target := range []string{"/reports/generate", "/v1/intents"} {
			body := `{"intent_type":"report","payload":{}}`
			headers := append([]string{"Content-Type", "application/json"}, header...)
			code, answer := s.asks("POST", target, body, headers...)
			require.Contains(s.t, []string{"200", "202", "400", "415", "431"}, code, "%.80q at %s: %s", header, target, answer)
			require.NotContains(s.t, answer, "evil")
		}
	}
	posts := s.posts()
	code, answer := s.asks("POST", "/reports/generate", "{}", "Idempotency-Key", "a", "Idempotency-Key", "b")
	require.Equal(s.t, "400", code, answer)
	require.Equal(s.t, posts, s.posts())
}

// wantsPlaces observes from places of every kind, and together with others.
func (s *site) wantsPlaces() {
	s.t.Helper()
	long, digits := strings.Repeat("x", 4000), strings.Repeat("9", 400)
	id := s.do("POST", "/reports/generate", `{}`).Header.Get("Intent-Id")
	for _, cursor := range []string{"0", "-1", "+1", "1e3", "0x1", digits, "9223372036854775807", "18446744073709551616", " 1", "1 ", "1,2", "٣", "NaN", "\xff", "a\x01b", "", "null", strings.Repeat("A", 400), "AQ", "AQAAAAAAAAAA____________"} {
		for _, path := range []string{"/v1/intents/" + id + "/events", "/v1/intents/" + id + "/events/stream", "/v1/intents/events/stream?id=" + id} {
			mark := "?"
			if strings.Contains(path, "?") {
				mark = "&"
			}
			code, answer := s.asks("GET", path+mark+"since="+url.QueryEscape(cursor)+"&wait_seconds=1", "")
			require.Contains(s.t, []string{"200", "204", "400"}, code, "%q at %s: %s", cursor, path, answer)
			code, answer = s.asks("GET", path+mark+"wait_seconds=1", "", "Last-Event-ID", cursor)
			require.Contains(s.t, []string{"200", "204", "400"}, code, "%q at %s: %s", cursor, path, answer)
		}
	}
	for _, query := range []string{strings.Repeat("id=x&", 20_000), strings.Repeat("id="+id+"&", 101), strings.Repeat("id=&", 100), "id=%00", "id=%ff", "id=" + long, "id=" + id + "&names=x", "id=" + id + "&heartbeat=" + digits, "%", ";id=" + id} {
		code, answer := s.asks("GET", "/v1/intents/events/stream?"+query, "")
		require.Contains(s.t, []string{"400", "404", "431"}, code, "%.80s: %s", query, answer)
	}
}

// wantsBodies creates with bodies of every kind.
func (s *site) wantsBodies() {
	s.t.Helper()
	deep, digits := strings.Repeat(`{"a":`, 200_000), strings.Repeat("9", 400)
	for _, body := range []string{`{"intent_type":"report","payload":` + deep, `{"intent_type":"report","payload":` + strings.Repeat("[", 200_000), `{"intent_type":"report","payload":{"a":1},"payload":[]}`,
		"{\"intent_type\":\"\xff\"}", `{"intent_type":"report\u0000"}`, `{"intent_type":"report","ttl_seconds":1e400}`, `{"intent_type":"report","ttl_seconds":` + digits + `}`, `{"intent_type":"report","deadline_at":"` + digits + `"}`} {
		code, answer := s.asks("POST", "/v1/intents", body, "Content-Type", "application/json")
		require.Contains(s.t, []string{"400", "422"}, code, "%.80s: %s", body, answer)
	}
	code, answer := s.asks("POST", "/reports/generate", "{}", "X-Flood", strings.Repeat("x", 2<<20))
	require.Contains(s.t, []string{"431", ""}, code, "%.200s", answer)
}

// A client that expects 100 sends its body when it is told to, and not before it is
// refused.
func TestExpectationsAreMet(t *testing.T) {
	s := newSite(t)
	s.serve(inQueue(report, ""))
	const expecting = " HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
	say := func(text string) string { return s.hear(s.speak(strings.ReplaceAll(text, "SITE", s.addr))) }
	require.Regexp(t, `^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202`, say("POST /reports/generate"+expecting+"Content-Length: 2\r\n\r\n{}"))
	for _, target := range []string{"/reports/generate", "/v1/intents"} {
		require.Regexp(t, `^HTTP/1.1 413`, say("POST "+target+expecting+"Content-Length: 99999999\r\n\r\n"), target)
	}
	s.backend.Meets(legacytest.Submits, legacytest.Code(http.StatusExpectationFailed, ""), legacytest.Always)
	s.serve(report)
	answer := say("POST /reports/generate" + expecting + "Content-Length: 2\r\n\r\n{}")
	require.Contains(t, answer, "HTTP/1.1 417")
	require.NotContains(t, answer, "Intent-Id")
}

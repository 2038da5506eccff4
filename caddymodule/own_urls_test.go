package caddymodule_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// slowReport is the usual job, polled every 500 ms.
var slowReport = strings.Replace(report, "poll 100ms", "poll 500ms", 1)

func TestOldPollingClientsCostOnePollEachInterval(t *testing.T) {
	s := newSite(t)
	s.serve(slowReport)
	_, job := s.submit()
	s.backend.Says(job, "running", 33)
	begun := time.Now()
	answers := 0
	for time.Since(begun) < 2*time.Second {
		resp := s.do("GET", "/reports/status/"+job, "", "Accept", "application/json")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
		require.JSONEq(t, `{"job_id":"job-1","status":"running","percent":33}`, text(t, resp))
		answers++
	}
	asked := len(s.backend.AskedFor("GET", "/reports/status/"+job))
	require.Greater(t, answers, 50)
	require.LessOrEqual(t, asked, 8, "%d answers", answers)

	s.backend.Finishes(job)
	require.Eventually(t, func() bool {
		return strings.Contains(text(t, s.do("GET", "/reports/status/"+job, "")), "done")
	}, 2*time.Second, 20*time.Millisecond)
}

func TestAnEventSourceOnTheStatusURL(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	id, job := s.submit()
	s.backend.Says(job, "running", 10)
	resp := s.do("GET", "/reports/status/"+job, "", "Accept", "text/event-stream")
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	frames := sse.NewReader(resp.Body)
	frame, err := frames.Next()
	require.NoError(t, err)
	require.Contains(t, frame.Data, `"percent":10`)
	s.serve(report + "\n# a reload drops no stream")
	s.backend.Finishes(job)
	for !strings.Contains(frame.Data, "COMPLETED") {
		frame, err = frames.Next()
		require.NoError(t, err)
	}
	require.Contains(t, frame.Data, `"status":"done"`)
	require.Contains(t, frame.Data, `"intent":{"id":"`+id+`"`)
	_, err = frames.Next()
	require.ErrorIs(t, err, io.EOF)
	again := s.do("GET", "/reports/status/"+job, "", "Accept", "text/event-stream", "Last-Event-ID", frame.ID)
	require.Equal(t, http.StatusNoContent, again.StatusCode)
}

func TestAJobFromElsewhereIsFollowedFromItsStream(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	s.backend.Says("77", "running", 10)
	resp := s.do("GET", "/reports/status/77", "", "Accept", "text/event-stream")
	frames := sse.NewReader(resp.Body)
	frame, err := frames.Next()
	require.NoError(t, err)
	var first struct{ Intent struct{ ID string } }
	require.NoError(t, json.Unmarshal([]byte(frame.Data), &first))
	s.backend.Finishes("77")
	o := s.observe(first.Intent.ID)
	o.until(intent.Completed)
}

func TestOffloadAndAdoptCanBeSwitchedOff(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(slowReport, "job report {", "adopt off\njob report {\noffload off", 1))
	_, job := s.submit()
	s.backend.Says(job, "running", 1)
	before := s.backend.Polls(job)
	for range 50 {
		require.Equal(t, http.StatusOK, s.do("GET", "/reports/status/"+job, "").StatusCode)
	}
	require.GreaterOrEqual(t, s.backend.Polls(job)-before, 50)
	s.backend.Says("77", "running", 10)
	resp := s.do("GET", "/reports/status/77", "", "Accept", "text/event-stream")
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
}

// person is a client certificate of one's own making.
func person(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (s *site) keyPair(c tls.Certificate) (cert, key string) {
	dir := s.t.TempDir()
	der, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	require.NoError(s.t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(s.t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	writeFile(s.t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	return cert, key
}

// TestTwoUsersOfABackendSeeTheirOwnJobsOnly is told apart by what only Caddy can see, a
// client certificate, and by what any backend can.
func TestTwoUsersOfABackendSeeTheirOwnJobsOnly(t *testing.T) {
	s := newSite(t)
	s.backend.Says("1", "alices-secret", 42)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.Header.Get("X-Subject") + r.Header.Get("Cookie") + r.Header.Get("Authorization") + r.Header.Get("X-Api-Key")
		if strings.Contains(who, "bob") || !strings.Contains(who, "alice") && r.Header.Get("User-Agent") != "caddy-intents" {
			http.Error(w, `{"error":"forbidden"}`, http.StatusForbidden)
			return
		}
		s.backend.ServeHTTP(w, r)
	}))
	t.Cleanup(backend.Close)
	s.to = backend.Listener.Addr().String()
	cert, key := s.keyPair(person(t, "server"))
	block := strings.Replace(slowReport, "intents TO {", "intents {\nbackend {\nreverse_proxy TO {\nheader_up X-Subject {http.request.tls.client.subject}\n}\n}", 1)
	port := strings.TrimPrefix(caddytest.FreeAddr(t), "127.0.0.1:")
	s.serve("respond 404\n}\nhttps://localhost:" + port + " {\nbind 127.0.0.1\ntls " + cert + " " + key + " {\nclient_auth {\nmode request\n}\n}\n" + block)

	as := func(certificate *tls.Certificate, header ...string) func(accept string) *http.Response {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
			},
		}
		if certificate != nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{*certificate}
		}
		t.Cleanup(transport.CloseIdleConnections)
		return func(accept string) *http.Response {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "https://localhost:"+port+"/reports/status/1", nil)
			require.NoError(t, err)
			r.Header.Set("Accept", accept)
			for i := 0; i+1 < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			resp, err := transport.RoundTrip(r)
			require.NoError(t, err)
			return resp
		}
	}
	alice, bob := person(t, "alice"), person(t, "bob")
	for name, pair := range map[string][2]func(string) *http.Response{
		"a certificate":  {as(&alice), as(&bob)},
		"a cookie":       {as(nil, "Cookie", "session=alice"), as(nil, "Cookie", "session=bob")},
		"a bearer token": {as(nil, "Authorization", "Bearer alice"), as(nil, "Authorization", "Bearer bob")},
		"an api key":     {as(nil, "X-Api-Key", "alice"), as(nil, "X-Api-Key", "bob")},
	} {
		stream := pair[0]("text/event-stream")
		require.Equal(t, "text/event-stream", stream.Header.Get("Content-Type"), name)
		frame, err := sse.NewReader(stream.Body).Next()
		require.NoError(t, err, name)
		require.Contains(t, frame.Data, "alices-secret")
		for range 5 {
			require.Contains(t, text(t, pair[0]("application/json")), "alices-secret", name)
			for _, accept := range []string{"application/json", "text/event-stream"} {
				resp := pair[1](accept)
				require.Equal(t, http.StatusForbidden, resp.StatusCode, name)
				require.NotContains(t, text(t, resp), "alices-secret", name)
			}
		}
		require.NoError(t, stream.Body.Close())
	}
}

func TestHostileStatusesMakeNoFrames(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	_, job := s.submit()
	s.backend.SaysAll(job, legacytest.Status{State: "running", Step: "x\r\n\r\nevent: y\ndata: {}\n\n"})
	resp := s.do("GET", "/reports/status/"+job, "", "Accept", "text/event-stream")
	frame, err := sse.NewReader(resp.Body).Next()
	require.NoError(t, err)
	require.Equal(t, "message", frame.Event)
	require.Contains(t, frame.Data, `x\r\n\r\nevent: y\ndata: {}\n\n`)
}

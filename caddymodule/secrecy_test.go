package caddymodule_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/keyring"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// A counter is a backend that names its jobs 1, 2, 3 for all users together, and tells
// a user of its own jobs only. Whose a job is, is in every answer about it.
type counter struct {
	mu    sync.Mutex
	users []string // of each job
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	user := "bob"
	if said := r.Header.Get("X-Subject") + r.Header.Get("Cookie") + r.Header.Get("Authorization") + r.Header.Get("X-Api-Key"); strings.Contains(said, "alice") {
		user = "alice"
	}
	if r.Method == http.MethodPost {
		c.users = append(c.users, user)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"job_id":"%d","status":"pending","note":"secret of %s"}`, len(c.users), user)
		return
	}
	id, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/reports/status/"))
	if id < 1 || id > len(c.users) || c.users[id-1] != user && r.Header.Get("User-Agent") != "caddy-intents" {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"error":"no job of yours"}`)
		return
	}
	state := "running"
	if c.users[id-1] == "bob" {
		state = "done"
	}
	fmt.Fprintf(w, `{"job_id":"%d","status":%q,"step":"secret of %[3]s","url":"/files/secret of %[3]s"}`, id, state, c.users[id-1])
}

// A user sends the same credentials with each request, of one kind.
type user struct {
	t         *testing.T
	base      string
	transport *http.Transport
	header    []string
}

// asks returns an answer whose body is read by hears, or by whoever streams it.
func (u *user) asks(method, path, body string, header ...string) *http.Response {
	u.t.Helper()
	// What is refused ends; a stream to somebody who is to have none would not.
	ctx, cancel := context.WithTimeout(u.t.Context(), 20*time.Second)
	u.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, u.base+path, strings.NewReader(body))
	require.NoError(u.t, err)
	for all := append(u.header, header...); len(all) > 0; all = all[2:] {
		r.Header.Set(all[0], all[1])
	}
	resp, err := u.transport.RoundTrip(r)
	require.NoError(u.t, err)
	return resp
}

// hears returns all that an answer says, its head included.
func (u *user) hears(resp *http.Response) string {
	u.t.Helper()
	defer resp.Body.Close()
	var said bytes.Buffer
	require.NoError(u.t, resp.Header.Write(&said))
	_, err := io.Copy(&said, resp.Body)
	require.NoError(u.t, err)
	return said.String()
}

// submits starts a job and returns its intent.
func (u *user) submits(header ...string) string {
	u.t.Helper()
	resp := u.asks("POST", "/reports/generate", `{}`, header...)
	require.Equal(u.t, http.StatusAccepted, resp.StatusCode, u.hears(resp))
	require.NotEmpty(u.t, resp.Header.Get("Intent-Id"))
	return resp.Header.Get("Intent-Id")
}

// streams opens a stream and returns its first frame, and the answer.
func (u *user) streams(path string, header ...string) (sse.Frame, *http.Response) {
	u.t.Helper()
	resp := u.asks("GET", path, "", append([]string{"Accept", "text/event-stream"}, header...)...)
	require.Equal(u.t, "text/event-stream", resp.Header.Get("Content-Type"), path)
	frame, err := sse.NewReader(resp.Body).Next()
	require.NoError(u.t, err)
	return frame, resp
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

// credentials are the ways in which two users are told apart.
var credentials = []struct {
	name, owner string
	of          func(name string) []string // headers; nil for a certificate
}{
	{"a cookie", "{http.request.cookie.session}", func(name string) []string { return []string{"Cookie", "session=" + name} }},
	{"a bearer token", "{http.request.header.Authorization}", func(name string) []string { return []string{"Authorization", "Bearer " + name} }},
	{"an api key", "{http.request.header.X-Api-Key}", func(name string) []string { return []string{"X-Api-Key", name} }},
	{"a certificate", "{http.request.tls.client.subject}", nil},
}

// guarded is a site in front of a counter, with or without owners. Two users of it are
// returned, told apart by the kind of credentials with this number.
func guarded(t *testing.T, kind int, owners bool) (s *site, alice, bob *user) {
	s = newSite(t)
	server := httptest.NewServer(new(counter))
	t.Cleanup(server.Close)
	s.to = server.Listener.Addr().String()
	cert, key := s.keyPair(person(t, "server"))
	port := strings.TrimPrefix(caddytest.FreeAddr(t), "127.0.0.1:")
	head := "intents {\nbackend {\nreverse_proxy TO {\nheader_up X-Subject {http.request.tls.client.subject}\n}\n}"
	if owners {
		head += "\nowner " + credentials[kind].owner
	}
	block := strings.Replace(report, "intents TO {", head, 1)
	block = strings.Replace(block, "poll 100ms", "cancel DELETE /reports/status/{job_id}\nresult body.url\ncopy_headers Authorization Cookie X-Api-Key\npoll 100ms", 1)
	s.block = "respond 404\n}\nhttps://localhost:" + port + " {\nbind 127.0.0.1\ntls " + cert + " " + key + " {\nclient_auth {\nmode request\n}\n}\n" + block
	s.serve(s.block)
	as := func(name string) *user {
		u := &user{t: t, base: "https://localhost:" + port, transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
			},
		}}
		t.Cleanup(u.transport.CloseIdleConnections)
		if of := credentials[kind].of; of != nil {
			u.header = of(name)
		} else {
			u.transport.TLSClientConfig.Certificates = []tls.Certificate{person(t, name)}
		}
		return u
	}
	return s, as("alice"), as("bob")
}

func TestNoByteOfOneUsersJobsReachesAnotherWhoGuesses(t *testing.T) {
	for kind, c := range credentials {
		for _, owners := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, owners %t", c.name, owners), func(t *testing.T) {
				s, alice, bob := guarded(t, kind, owners)
				guesses(t, s, alice, bob, owners)
			})
		}
	}
}

func guesses(t *testing.T, s *site, alice, bob *user, owners bool) {
	hers := []string{alice.submits("Idempotency-Key", "k"), alice.submits()}
	text(t, must(http.Post("http://"+s.to+"/reports/generate", "", nil))) // nobody's: job 3 is bob's, and not through us
	// Job 4 is alice's, from elsewhere: she adopts it.
	r, err := http.NewRequest("POST", "http://"+s.to+"/reports/generate", nil)
	require.NoError(t, err)
	r.Header.Set("X-Api-Key", "alice")
	text(t, must(http.DefaultTransport.RoundTrip(r)))
	var adopted struct{ Intent struct{ ID string } }
	frame, first := alice.streams("/reports/status/4")
	require.NoError(t, json.Unmarshal([]byte(frame.Data), &adopted))
	require.Contains(t, frame.Data, "secret of alice")
	hers = append(hers, adopted.Intent.ID)
	own, second := alice.streams("/reports/status/1")
	together, third := alice.streams("/v1/intents/events/stream?id=" + hers[0] + "&id=" + hers[1])

	his := bob.submits() // job 5
	tell := func(what string, resp *http.Response) {
		t.Helper()
		said := bob.hears(resp)
		require.NotContains(t, said, "alice", what)
		for _, id := range hers {
			require.NotContains(t, said, id, what)
		}
	}
	for round := range 3 { // the second time all that is kept is fresh
		if round == 2 {
			for _, stream := range []*http.Response{first, second, third} {
				stream.Body.Close()
			}
			s.restarts()
			frame, again := alice.streams("/reports/status/1")
			require.Contains(t, frame.Data, hers[0], "she is known by what is stored")
			again.Body.Close()
		}
		for _, job := range []string{"1", "2", "4", "9"} {
			for _, how := range [][]string{
				{"GET"}, {"HEAD"}, {"DELETE"}, {"GET", "If-None-Match", "*"}, {"GET", "Range", "bytes=0-"}, {"GET", "Prefer", "wait=1"},
				{"GET", "Accept", "text/event-stream"}, {"GET", "Accept", "text/event-stream", "Last-Event-ID", own.ID},
				{"GET", "Accept", "text/event-stream", "Last-Event-ID", "999999"},
			} {
				resp := bob.asks(how[0], "/reports/status/"+job, "", how[1:]...)
				require.Equal(t, http.StatusForbidden, resp.StatusCode, "%s %s", job, how)
				tell(fmt.Sprint(job, how), resp)
			}
			require.Contains(t, alice.hears(alice.asks("GET", "/reports/status/1", "")), "secret of alice")
		}
		for _, how := range [][]string{{"Prefer", "wait=1"}, {"Accept", "text/event-stream"}, {}} {
			resp := bob.asks("POST", "/reports/generate", `{}`, append(how, "Idempotency-Key", "k")...)
			tell(fmt.Sprint("a replay with ", how), resp)
		}
		tell("a stream of his", bob.asks("GET", "/v1/intents/events/stream?id="+his, "", "Last-Event-ID", together.ID))
		tell("a list", bob.asks("GET", "/v1/intents", ""))
		if owners {
			knows(t, s, bob, his, hers, together.ID)
		}
	}
	for _, id := range hers {
		require.Contains(t, alice.hears(alice.asks("GET", "/v1/intents/"+id, "")), "IN_PROGRESS", "it goes on")
	}
}

// knows tries all that is under the path as somebody who has the ids of others.
func knows(t *testing.T, s *site, bob *user, his string, hers []string, cursor string) {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(s.storage(), "intents", "secret"))
	require.NoError(t, err)
	keys, err := keyring.New(secret, nil)
	require.NoError(t, err)
	refused := func(method, path string, header ...string) {
		t.Helper()
		body := ""
		if method == http.MethodPost {
			body = `{"status":"CANCELED"}`
		}
		resp := bob.asks(method, path, body, append(header, "Content-Type", "application/json")...)
		require.Equal(t, http.StatusNotFound, resp.StatusCode, path)
		require.NotContains(t, bob.hears(resp), "alice", path)
	}
	for _, id := range hers {
		parsed, err := intent.ParseID(id)
		require.NoError(t, err)
		mine, err := intent.ParseID(his)
		require.NoError(t, err)
		for _, token := range []string{"", keys.Token(parsed, time.Now().Add(-time.Second)), keys.Token(mine, time.Now().Add(time.Hour))} {
			with := "?token=" + token
			for _, path := range []string{"", "/events", "/events/stream", "/result"} {
				for _, more := range []string{"", "&since=0", "&since=2", "&wait_seconds=1", "&client=eventsource"} {
					refused("GET", "/v1/intents/"+id+path+with+more, "Prefer", "wait=1", "Last-Event-ID", "2")
				}
			}
			for _, ids := range []string{"id=" + id, "id=" + his + "&id=" + id, "id=" + id + "&id=" + his} {
				refused("GET", "/v1/intents/events/stream?"+ids+"&token="+token, "Last-Event-ID", cursor)
			}
			refused("DELETE", "/v1/intents/"+id+with)
			refused("POST", "/v1/intents/"+id+"/resolve"+with)
		}
	}
}

func must(resp *http.Response, err error) *http.Response {
	if err != nil {
		panic(err)
	}
	return resp
}

//go:build redis

package redisstore_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/redistest"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
)

// lead takes an intent through its life, with a look at all that other calls need.
func lead(t *testing.T, s store.Store) {
	t.Helper()
	held := create(t, s, "report")
	c := reported(held, 1)
	c.Events[0].Tell = []string{"somebody"}
	require.NoError(t, s.Append(t.Context(), c))
	require.NoError(t, s.Watch(t.Context(), held.ID, time.Now()))
	_, err := s.Renew(t.Context(), []store.Lease{held.Lease})
	require.NoError(t, err)
	require.NoError(t, s.Release(t.Context(), held.Lease))
	held = claim(t, s)[0]
	last, events := held.Intent.Apply(intent.Reading{Status: intent.Completed}, time.Now())
	last.Expires = time.Now()
	require.NoError(t, s.Append(t.Context(), store.Change{Intent: last, Epoch: held.Epoch, After: held.Intent.Seq, Events: events}))
	_, _, err = s.Events(t.Context(), held.ID, 0)
	require.NoError(t, err)
	_, err = s.List(t.Context(), store.Filter{})
	require.NoError(t, err)
	messages, err := s.Collect(t.Context(), time.Now().Add(time.Hour), time.Now(), 10)
	require.NoError(t, err)
	require.Len(t, messages, 1)
	require.NoError(t, s.Discard(t.Context(), messages[0].MessageID))
	n, err := s.Purge(t.Context(), time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// The rights are those that docs/operations.md names.
func TestAUserWithFewRightsWillDo(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, rights, found := strings.Cut(string(page), "An ACL user needs `")
	require.True(t, found)
	rights, _, _ = strings.Cut(rights, "`")
	server := redistest.Start(t)
	answer, err := server.Do(append([]string{"ACL", "SETUSER", "intents", "on", ">hunter2"}, strings.Fields(rights)...)...)
	require.NoError(t, err)
	require.Equal(t, "+OK", answer)
	_, err = server.Do("ACL", "SETUSER", "default", "resetpass", ">other")
	require.NoError(t, err)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}, Username: "intents", Password: "hunter2", Prefix: redisstore.DefaultPrefix})
	lead(t, s)
}

func TestAServerWithTLS(t *testing.T) {
	dir := t.TempDir()
	roots := makeCertificate(t, dir)
	addr := redistest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	s := open(t, redisstore.Options{Addrs: []string{addr}, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	lead(t, s)
	_, err = redisstore.Open(t.Context(), redisstore.Options{Addrs: []string{addr}, TLS: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}})
	require.ErrorContains(t, err, "certificate", "whom nobody trusts")
}

// makeCertificate writes one for this machine, signed by itself, and returns who trusts it.
func makeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

package webhook

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrivateAddressesAreNotPublic(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1",
		"255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "198.51.100.7", "203.0.113.9", "192.0.0.8",
		"::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2001:db8::1", "2002:7f00:1::", "100::1",
		"::127.0.0.1", "::1.1.1.1", "::ffff:0:7f00:1", "::ffff:0:a00:1", "fec0::1", "feff::1",
	} {
		require.False(t, public(netip.MustParseAddr(a)), a)
	}
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"} {
		require.True(t, public(netip.MustParseAddr(a)), a)
	}
}

func TestAPrivateAddressIsRefusedWhenItIsDialed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, url := range []string{server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1)} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
		require.NoError(t, err)
		_, err = newTransport(false).RoundTrip(r)
		require.ErrorIs(t, err, ErrPrivate, url)
		require.Equal(t, ErrPrivate.Error(), why(err))
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
	require.NoError(t, err)
	resp, err := newTransport(true).RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
}

func TestSecretsAreAsStandardWebhooksHasThem(t *testing.T) {
	for _, good := range []string{theSecret, strings.TrimPrefix(theSecret, "whsec_"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"} {
		_, err := ParseSecret(good)
		require.NoError(t, err, good)
	}
	for _, bad := range []string{"", "whsec_", "secret", "whsec_c2hvcnQ=", "whsec_" + strings.Repeat("QUFB", 22), "whsec_%%%%"} {
		_, err := ParseSecret(bad)
		require.ErrorIs(t, err, ErrSecret, bad)
	}
}

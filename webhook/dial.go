package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrPrivate is returned for an address that is not everybody's.
var ErrPrivate = errors.New("the address is private; allow it with allow_private")

// notPublic are the special-purpose networks that netip has no name for (IANA, RFC
// 6890): what leads back into a network is not for a URL that somebody named.
var notPublic = func() (all []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
		"::/96", "::ffff:0:0:0/96", "fec0::/10", // IPv4 in two more ways, and what was site-local
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}()

// public reports whether anybody's packets could reach the address.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// checkAddress refuses private addresses when a connection is made: after the name was
// resolved, and for what it was resolved to.
func checkAddress(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	if !public(addr.Addr()) {
		return ErrPrivate
	}
	return nil
}

// How long a receiver may take.
const (
	dialTimeout = 5 * time.Second
	sendTimeout = 20 * time.Second
)

// newTransport makes the way to receivers. No proxy of the environment is asked, or it
// would resolve the names.
func newTransport(allowPrivate bool) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	if !allowPrivate {
		dialer.Control = checkAddress
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  sendTimeout,
		MaxResponseHeaderBytes: 16 << 10,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
	}
}

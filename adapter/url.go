package adapter

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// An origin is where an URL that the backend gave came from: the submit it
// answers, or the poll.
type origin struct {
	host   string
	scheme string
	path   string // escaped
}

// hosts are the authorities that a URL of the backend may name.
type hosts []hostPort

type hostPort struct{ host, port string } // port "" for any

func compileHosts(o Options) (hosts, error) {
	var known hosts
	for _, h := range o.AllowHosts {
		known = append(known, splitHost(h))
		port := known[len(known)-1].port
		if _, err := strconv.ParseUint(port, 10, 16); h == "" || strings.ContainsAny(h, "/@?#\\ {}*") || port != "" && err != nil {
			return nil, specErr("allow_host", "%q is not a host: write jobs.example.com or jobs.example.com:8443", h)
		}
	}
	for _, u := range o.Upstreams {
		known = append(known, splitHost(u))
	}
	return known, nil
}

// splitHost takes host and port apart, with or without a port, IPv6 with or
// without brackets.
func splitHost(s string) hostPort {
	s = strings.ToLower(s)
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return hostPort{host: addr.String()}
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		return hostPort{host: strings.Trim(s[:i], "[]"), port: s[i+1:]}
	}
	return hostPort{host: s}
}

// These are why a URL of the backend is refused.
var (
	errURLSyntax   = errors.New("not a URL")
	errURLControl  = errors.New("contains a control character, a space or a backslash")
	errURLUser     = errors.New("contains credentials")
	errURLScheme   = errors.New("is neither http nor https")
	errURLHost     = errors.New("names a host that is not the backend's (allow_host)")
	errURLNoHost   = errors.New("has no host")
	errURLNoTarget = errors.New("is empty")
)

// accept gives path and query of a URL that the backend named, if it may be
// asked. The authority is dropped: whatever it says, the request goes to the job's
// own backend. So the check is not what keeps requests inside; it is what keeps
// credentials and confusion out, should the URL mean another server.
func (h hosts) accept(raw string, from origin) (string, error) {
	raw = strings.Trim(raw, " \t")
	switch {
	case raw == "":
		return "", errURLNoTarget
	case len(raw) > maxURL:
		return "", errLong
	case strings.ContainsFunc(raw, func(r rune) bool { return r == ' ' || r == '\\' || isControl(r) }):
		return "", errURLControl
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", errURLSyntax
	}
	if err := h.acceptAuthority(u, raw, from); err != nil {
		return "", err
	}
	return cleanTarget(u, from)
}

func (h hosts) acceptAuthority(u *url.URL, raw string, from origin) error {
	switch {
	case u.User != nil:
		return errURLUser
	case u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		return errURLScheme
	case u.Opaque != "", u.Host == "" && (u.Scheme != "" || strings.HasPrefix(raw, "//")):
		return errURLNoHost
	case u.Host == "" || h.known(u, from):
		return nil
	}
	return errURLHost
}

func (h hosts) known(u *url.URL, from origin) bool {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if host == "" || strings.HasSuffix(u.Host, ":") {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.IsLoopback() && !addr.Is4In6() && addr.Zone() == "" {
			return true
		}
		host = addr.String()
	}
	own := splitHost(from.host)
	if host == "localhost" || host == own.host && (isDefaultPort(port) || port == own.port) {
		return true
	}
	if port == "" {
		port = defaultPort(u.Scheme, from.scheme)
	}
	return slices.ContainsFunc(h, func(k hostPort) bool {
		return k.host == host && (k.port == "" || k.port == port)
	})
}

// isDefaultPort does not ask of which scheme: a server behind TLS writes http.
func isDefaultPort(port string) bool { return port == "" || port == "80" || port == "443" }

func defaultPort(schemes ...string) string {
	for _, s := range schemes {
		switch s {
		case "http":
			return "80"
		case "https":
			return "443"
		}
	}
	return "80"
}

// cleanTarget resolves the path against that of the origin and removes dot
// segments. Dot segments in disguise (%2e%2e, a%2f..%2fb, ..;x) have no honest
// use: they are refused.
func cleanTarget(u *url.URL, from origin) (string, error) {
	base, err := url.Parse(from.path)
	if err != nil || base.Host != "" || base.User != nil || !strings.HasPrefix(base.Path, "/") || u.Host != "" {
		base = &url.URL{Path: "/"}
	}
	ref := url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	if u.Host != "" && u.Path == "" {
		ref.Path = "/"
	}
	target := base.ResolveReference(&ref)
	switch {
	case climbs(target.Path):
		return "", errDots
	case strings.HasPrefix(target.Path, "//"):
		return "", errURLNoHost
	case strings.ContainsFunc(target.Path, func(r rune) bool { return r == '\\' || isControl(r) }):
		return "", errURLControl
	}
	out := target.EscapedPath()
	if target.RawQuery != "" {
		out += "?" + target.RawQuery
	}
	out = escapeLiteral(out)
	if len(out) > maxURL {
		return "", errLong
	}
	return out, nil
}

// redact makes a URL fit for a log: no credentials, no query, no fragment, no
// control characters, short.
func redact(raw string) string {
	raw, _, _ = strings.Cut(raw, "?")
	raw, _, _ = strings.Cut(raw, "#")
	if scheme, rest, ok := strings.Cut(raw, "//"); ok {
		authority, path, slash := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			authority = authority[i+1:]
		}
		raw = scheme + "//" + authority
		if slash {
			raw += "/" + path
		}
	}
	return escapeLiteral(clip(strings.ToValidUTF8(raw, "?"), 200))
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

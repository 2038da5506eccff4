package engine

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// hopByHop are headers that are about one message on one connection, or for one client
// at one time. Set-Cookie above all: it can hold another client's session.
var hopByHop = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Content-Length": true, "Age": true,
	"Set-Cookie": true, "Set-Cookie2": true,
}

// EndToEnd copies those headers of an earlier answer that belong to an answer in its
// words, and that pass. Vary is added to. What pages of other origins may do with it is
// left out: that is decided for each request.
func EndToEnd(dst, src http.Header, pass func(name string) bool) {
	named := src["Connection"]
	for name, values := range src {
		switch {
		case hopByHop[name], IsCORS(name), nominated(named, name), !pass(name):
		case name == "Vary":
			AddVary(dst, values)
		default:
			dst[name] = slices.Clone(values)
		}
	}
}

// IsCORS reports whether a header is about what pages of other origins may do.
func IsCORS(name string) bool { return strings.HasPrefix(name, "Access-Control-") }

// AddVary adds names that are not there yet.
func AddVary(h http.Header, values []string) {
	for _, name := range Varies(http.Header{"Vary": values}) {
		if !slices.Contains(Varies(h), name) {
			h.Add("Vary", name)
		}
	}
}

// Varies are the names in Vary.
func Varies(h http.Header) []string {
	var names []string
	for _, list := range h["Vary"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = textproto.TrimString(name); name != "" {
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	return names
}

// nominated reports whether a Connection header names a header as one of its own.
func nominated(connection []string, name string) bool {
	for _, list := range connection {
		for option := range strings.SplitSeq(list, ",") {
			if http.CanonicalHeaderKey(strings.TrimSpace(option)) == name {
				return true
			}
		}
	}
	return false
}

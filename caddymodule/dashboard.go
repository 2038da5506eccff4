package caddymodule

import (
	"bytes"
	"embed"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// The dashboard is a page that shows and steers by the admin API what `caddy intents`
// does by it on a terminal. It is plain files, and asks for nothing from elsewhere.
//
//go:embed dashboard
var dashboard embed.FS

const dashboardRoute = adminRoot + "dashboard"

// dashboardPolicy is for the page and all of its files: nothing inline, nothing from
// elsewhere, in no frame, and no text that becomes markup.
const dashboardPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes are those of the dashboard's files. What the system says of an ending can
// be anything.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

func serveDashboard(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if name == "" {
		name = "page.html"
	}
	body, err := fs.ReadFile(dashboard, path.Join("dashboard", path.Clean("/"+name)))
	if err != nil {
		return serveNothing(w, r)
	}
	h := w.Header()
	h.Set("Content-Type", contentTypes[path.Ext(name)])
	h.Set("Content-Security-Policy", dashboardPolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: the admin endpoint asks a browser where a request comes from.
	h.Set("Referrer-Policy", "same-origin")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	return nil
}

// wantsPage reports whether a browser is led to an address, rather than a program asks
// for JSON.
func wantsPage(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "text/html") && r.URL.RawQuery == ""
}

// ofAnotherSite reports whether a page of another site had a browser send this. The admin
// endpoint asks for the origin itself, but may be told to let any in, and a proxy in front
// of it may write one.
func ofAnotherSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // not a browser; our page; typed by the user
		return false
	}
	return true
}

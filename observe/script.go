package observe

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/http"
	"regexp"
	"time"
)

//go:embed observe.js
var source []byte

// script is what is served of the source: not what is there for people.
var script = regexp.MustCompile(`(?m)^\s*//.*\n|^\t+|\s+// .*$`).ReplaceAll(source, nil)

var scriptTag = fmt.Sprintf(`"%x"`, sha256.Sum256(script))

// serveScript serves the module that a page follows an intent with. It is the same
// for everybody, and is not looked at again for an hour.
func (s *Server) serveScript(w http.ResponseWriter, r *http.Request, _ string) (*stream, error) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("ETag", scriptTag)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(script))
	return nil, nil
}

package caddyintents_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"

	_ "github.com/caddy-intents/caddy-intents"
)

// A snippet is a Caddyfile somebody may copy: a file, or a block of a document.
type snippet struct{ where, text string }

func TestEveryCaddyfileIsFormatted(t *testing.T) {
	for _, s := range snippets(t) {
		require.Equal(t, string(caddyfile.Format([]byte(s.text))), s.text, "%s: not as `caddy fmt` writes it", s.where)
	}
}

// TestEveryCaddyfileIsUnderstood adapts each snippet. One in a document may be a
// part: what is around it is then what the reader has.
func TestEveryCaddyfileIsUnderstood(t *testing.T) {
	around := []string{
		"%",
		":80 {\n%\n}",
		"{\nintents {\n%\n}\n}",
		":80 {\nintents localhost:8000 {\n%\n}\n}",
		":80 {\nintents {\n%\njob j {\nsubmit POST /jobs\nstatus GET /jobs/{job_id}\n}\n}\n}",
		":80 {\nintents localhost:8000 {\njob j {\n%\n}\n}\n}",
		":80 {\nintents localhost:8000 {\njob j {\nsubmit POST /jobs\nstatus GET /jobs/{job_id}\n%\n}\n}\n}",
	}
	for _, s := range snippets(t) {
		var complaints []string
		for _, a := range around {
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(strings.Replace(a, "%", s.text, 1)), map[string]any{"filename": s.where})
			if err == nil {
				break
			}
			complaints = append(complaints, err.Error())
		}
		require.Less(t, len(complaints), len(around), "%s is neither a Caddyfile nor part of one:\n%s", s.where, strings.Join(complaints, "\n"))
	}
}

var codeBlock = regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$")

func snippets(t *testing.T) []snippet {
	t.Helper()
	var found []snippet
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata"):
			return fs.SkipDir
		case d.Name() == "Caddyfile" || filepath.Ext(path) == ".caddyfile":
			text, err := os.ReadFile(path)
			found = append(found, snippet{path, string(text)})
			return err
		case filepath.Ext(path) == ".md":
			text, err := os.ReadFile(path)
			for _, m := range codeBlock.FindAllStringSubmatch(string(text), -1) {
				found = append(found, snippet{path, m[1]})
			}
			return err
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, found, "the module has a Caddyfile of its own")
	return found
}

package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

var update = flag.Bool("update", false, "write what Caddyfiles adapt to, or how they are refused, into testdata")

// ruler stands between a Caddyfile and what it is: its JSON, or why it is refused.
const ruler = "----------\n"

// TestCaddyfiles adapts every Caddyfile in testdata and compares. A file whose name
// begins with bad_ must be refused.
func TestCaddyfiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			source, want, ok := strings.Cut(string(content), ruler)
			require.True(t, ok, "a line of dashes is missing")
			got, refused := adapt(t, source)
			require.Equal(t, strings.HasPrefix(name, "bad_"), refused, "refused or not: %s", got)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(source+ruler+got), 0o600))
				return
			}
			require.Equal(t, want, got)
		})
	}
}

// adapt returns the JSON of a Caddyfile that Caddy accepts, or the error.
func adapt(t *testing.T, source string) (result string, refused bool) {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error() + "\n", true
	}
	var cfg *caddy.Config
	require.NoError(t, json.Unmarshal(adapted, &cfg))
	if err := caddy.Validate(cfg); err != nil {
		return err.Error() + "\n", true
	}
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, adapted, "", "\t"))
	return pretty.String() + "\n", false
}

// FuzzCaddyfile feeds site blocks to the parser: it answers or refuses, and what it
// answers can be read back as JSON.
func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(f, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(f, err)
		source, _, _ := strings.Cut(string(content), ruler)
		f.Add(source)
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "import") {
			return // reads files
		}
		adapted, _, err := adapter.Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			return
		}
		require.True(t, json.Valid(adapted))
	})
}

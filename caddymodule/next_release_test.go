//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A patch is a text in a file of the source that another one takes the place of.
type patch struct{ file, from, to string }

// nextRelease makes of this release one that keeps more in Redis than this one knows: all
// that a release may add without another schema. Its scripts are all other ones, and each
// change counts in a field of its own and rings a bell of its own.
var nextRelease = []patch{
	{"store/redisstore/lua/shared.lua", "local shard = KEYS[1]\n", `local shard = KEYS[1]
local function mark(id)
  redis.call('HINCRBY', shard .. 'i:' .. id, 'next', 1)
  redis.call('PUBLISH', shard .. 'ev', 'next changed ' .. id .. ' 1 more')
  redis.call('PUBLISH', shard .. 'ev', 'next changed ' .. id .. ' 1')
end
`},
	{"store/redisstore/lua/create.lua", "post()\n", "post()\nmark(id)\n"},
	{"store/redisstore/lua/append.lua", "post()\n", "post()\nmark(id)\n"},
	{"store/redisstore/record.go", `
		return nil, fmt.Errorf("encoding the origin of intent %s: %w", in.ID, err)
	}
	return b, nil`, `
		return nil, fmt.Errorf("encoding the origin of intent %s: %w", in.ID, err)
	}
	return append([]byte("{\"next\":1,"), b[1:]...), nil`},
	{"store/redisstore/record.go", `
		return nil, fmt.Errorf("encoding intent %s: %w", in.ID, err)
	}
	return b, nil`, `
		return nil, fmt.Errorf("encoding intent %s: %w", in.ID, err)
	}
	return append([]byte("{\"next\":1,"), b[1:]...), nil`},
	{"store/redisstore/record.go", "encoded[i] = b\n", "encoded[i] = append([]byte(\"{\\\"next\\\":1,\"), b[1:]...)\n"},
	{"store/redisstore/inspect.go", `{"schema", schema}, `, `{"schema", schema}, {"next", "1"}, `},
}

// patched are the texts of the files of the source that are patched. A text that is not
// there exactly once fails the test: then it patches nothing.
func patched(t *testing.T, patches []patch) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, p := range patches {
		text, again := texts[p.file]
		if !again {
			read, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(p.file)))
			require.NoError(t, err)
			text = string(read)
		}
		require.Equal(t, 1, strings.Count(text, p.from), "what is to be patched in %s:\n%s", p.file, p.from)
		texts[p.file] = strings.Replace(text, p.from, p.to, 1)
	}
	return texts
}

// buildCaddy builds Caddy with the plugin of another source, in which some files have
// other texts, and returns its path.
func buildCaddy(t *testing.T, texts map[string]string) string {
	t.Helper()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	dir := t.TempDir()
	replace := make(map[string]string)
	for file, text := range texts {
		other := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		require.NoError(t, os.WriteFile(other, []byte(text), 0o600))
		replace[filepath.Join(root, filepath.FromSlash(file))] = other
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	overlay, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "caddy")
	require.NoError(t, os.WriteFile(overlay, list, 0o600))
	out, err := exec.Command("go", "build", "-trimpath", "-tags", "nobadger,nomysql,nopgx", "-overlay", overlay, "-o", binary, "../cmd/caddy").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

//go:build e2e

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/browsertest"
)

// press orders a report on the page and waits for the end on both sides, and for the
// counters to have been read once more.
const press = `
const button = document.querySelector("button")
button.click()
const until = async what => { while (!what()) await new Promise(done => setTimeout(done, 50)) }
await until(() => button.disabled)
await until(() => !button.disabled)
await new Promise(done => setTimeout(done, 1500))
const side = id => ({
	sent: Number(document.querySelector("#" + id + " .sent").textContent),
	got: Number(document.querySelector("#" + id + " .got").textContent),
	progress: [...document.querySelectorAll("#" + id + " progress")].map(bar => bar.value),
	words: [...document.querySelectorAll("#" + id + " .who span:last-child")].map(span => span.textContent),
})
return { old: side("old"), new: side("new") }
`

func TestThePageShowsBothWays(t *testing.T) {
	var out bytes.Buffer
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	require.NoError(t, run(&out, t.TempDir(), 5*time.Second))

	b := browsertest.Open(t)
	b.Visit(find(t, siteLine, out.String()) + "/")
	var page map[string]struct {
		Sent, Got int
		Progress  []int
		Words     []string
	}
	b.Run(press, &page)
	shot := filepath.Join(t.ArtifactDir(), "page.png")
	require.NoError(t, os.WriteFile(shot, b.Screenshot(), 0o600))

	before, after := page["old"], page["new"]
	for name, side := range page {
		require.Equal(t, []int{100, 100, 100}, side.Progress, name)
		require.Len(t, side.Words, 3, name)
		for _, words := range side.Words {
			require.Regexp(t, `^/reports/files/\d+\.csv$`, words, name)
		}
	}
	require.Equal(t, before.Sent, before.Got, "each poll of each person reaches the service")
	require.Equal(t, 1+3, after.Sent, "one order and three streams")
	require.Less(t, after.Got, before.Got)
}

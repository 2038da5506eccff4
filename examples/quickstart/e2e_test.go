//go:build e2e

package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSignalsEndTheProcessWithItsStreams ends the command as a terminal and as a
// service manager do, while somebody watches a report that is far from done.
func TestSignalsEndTheProcessWithItsStreams(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			tmp := t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "BE_QUICKSTART=1", "TMPDIR="+tmp)
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			told := readUntil(t, stdout, "Ctrl-C ends it all.")
			inside, err := filepath.Glob(tmp + "/intents-quickstart-*/intents.db")
			require.NoError(t, err)
			require.Len(t, inside, 1, "intents are kept in a temporary directory")

			site := find(t, siteLine, told)
			resp, err := http.Post(site+"/reports/generate", "application/json", strings.NewReader(`{"report":"yearly"}`))
			require.NoError(t, err)
			answer, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			stream, err := http.Get(site + find(t, regexp.MustCompile(`"observe_url":"([^"]+)"`), string(answer)))
			require.NoError(t, err)
			defer stream.Body.Close()
			frames := bufio.NewReader(stream.Body)
			_, err = frames.ReadString('\n')
			require.NoError(t, err)

			require.NoError(t, cmd.Process.Signal(signal))
			rest, err := io.ReadAll(frames)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a stream that did not see its end does not end cleanly")
			require.NotContains(t, string(rest), "COMPLETED")
			_, _ = io.Copy(io.Discard, stdout)
			require.NoError(t, cmd.Wait(), "the exit code is 0")
			inside, err = filepath.Glob(tmp + "/intents-quickstart-*")
			require.NoError(t, err)
			require.Empty(t, inside, "the temporary directory is gone")
		})
	}
}

// readUntil reads lines to the one that has the mark.
func readUntil(t *testing.T, r io.Reader, mark string) string {
	t.Helper()
	var told strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		told.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), mark) {
			return told.String()
		}
	}
	t.Fatalf("%q did not come after:\n%s", mark, told.String())
	return ""
}

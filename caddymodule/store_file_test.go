//go:build e2e

package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// TestADamagedFileIsNamedAndMovedAsideOnTheOperatorsWordOnly: meanwhile Caddy serves,
// and the intents begin anew without a restart.
func TestADamagedFileIsNamedAndMovedAsideOnTheOperatorsWordOnly(t *testing.T) {
	for _, damage := range []struct {
		what string
		do   func(t *testing.T, path string)
	}{
		{"truncated", func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 20000)) }},
		{"cut to a stub", func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 100)) }},
		{"without its first pages", func(t *testing.T, path string) { overwrite(t, path, 0, make([]byte, 8192)) }},
		{"with a page of something else", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			overwrite(t, path, 8192, []byte(strings.Repeat("something else\n", int(info.Size()-8192)/15)))
		}},
	} {
		t.Run(damage.what, func(t *testing.T) {
			p := newPressed(t)
			p.configure(report)
			p.Start()
			p.oldClient()
			p.Kill()
			damage.do(t, p.store)
			damaged, err := os.ReadFile(p.store)
			require.NoError(t, err)

			p.Start()
			require.Empty(t, p.oldClient())
			require.Equal(t, http.StatusServiceUnavailable, p.code("/v1/intents/"+p.acked[0]))
			require.Contains(t, p.Log.String(), "opening the store "+p.store+": the file is damaged")
			require.Contains(t, p.Log.String(), "caddy intents move-aside "+p.store)
			kept, err := os.ReadFile(p.store)
			require.NoError(t, err)
			require.True(t, string(damaged) == string(kept), "nobody touches it")

			aside := strings.TrimPrefix(p.command("intents", "move-aside", p.store), p.store+" is ")
			kept, err = os.ReadFile(strings.TrimSuffix(aside, " now"))
			require.NoError(t, err)
			require.True(t, string(damaged) == string(kept), "it is kept as it was")
			p.acked = nil // they are unknown from now on
			p.heals()
			p.audit()
		})
	}
}

func overwrite(t *testing.T, path string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(with, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestABackupTakenUnderLoadRestoresEverythingAcknowledgedBefore(t *testing.T) {
	p := newPressed(t)
	p.configure(report)
	p.Start()
	for range 5 {
		require.NotEmpty(t, p.oldClient())
	}
	before := len(p.acked)
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.oldClient()
			}
		}
	})
	file := filepath.Join(t.TempDir(), "backup.db")
	for n := range 5 {
		require.NoError(t, os.RemoveAll(file))
		out := p.command("intents", "backup", "--address", p.Admin, file)
		require.True(t, strings.HasPrefix(out, file+": "), out)
		require.NoError(t, boltstore.Check(file), "backup %d", n)
	}
	close(stop)
	load.Wait()
	out, err := p.Run("intents", "backup", "--address", p.Admin, file)
	require.Error(t, err)
	require.Contains(t, out, "is there already")

	p.Kill()
	require.NoError(t, os.Rename(file, p.store)) // restored
	p.acked = p.acked[:before]
	p.Start()
	for _, id := range p.acked {
		require.Equal(t, http.StatusOK, p.code("/v1/intents/"+id))
	}
	require.NotEmpty(t, p.oldClient())
	p.audit()
}

func TestABackupThatCannotBeMadeLeavesNothing(t *testing.T) {
	p := newPressed(t)
	p.configure(report)
	require.NoError(t, os.WriteFile(p.store, []byte("no store"), 0o600))
	p.Start()
	dir := t.TempDir()
	out, err := p.Run("intents", "backup", "--address", p.Admin, filepath.Join(dir, "backup.db"))
	require.Error(t, err)
	require.Contains(t, out, "no such store is open")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	resp, err := http.Post("http://"+p.Admin+"/intents/backup", "text/plain", nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, "GET", resp.Header.Get("Allow"))
}

func TestCompactingNeedsTheFileForItselfAndLosesNothing(t *testing.T) {
	p := newPressed(t)
	p.configure(strings.Replace(report, "intents TO {", "intents TO {\nlimits {\nrate 2000\n}", 1))
	p.Start()
	for range 20 {
		require.NotEmpty(t, p.oldClient())
	}
	out, err := p.Run("intents", "compact", p.store)
	require.Error(t, err)
	require.Contains(t, out, "in use by another process")
	require.NotEmpty(t, p.oldClient())
	p.Terminate()
	<-p.Exited
	require.Regexp(t, `intents\.db: .* before, .* after$`, p.command("intents", "compact", p.store))
	p.Start()
	require.NotEmpty(t, p.oldClient())
	p.audit()
}

// A file that turns out to be damaged while it is in use is closed and opened anew,
// which finds the damage: then it is as if Caddy had been started with it.
func TestAFileDamagedInUseIsReplacedWithoutARestart(t *testing.T) {
	p := newPressed(t)
	p.configure(report)
	p.Start()
	for range 20 {
		require.NotEmpty(t, p.oldClient())
	}
	info, err := os.Stat(p.store)
	require.NoError(t, err)
	overwrite(t, p.store, 8192, make([]byte, info.Size()-8192))
	for begun := time.Now(); !strings.Contains(p.Log.String(), "opening the store "+p.store+": the file is damaged"); {
		p.oldClient()
		require.Less(t, time.Since(begun), patience, "nobody notices\n%s", p.Log)
	}
	p.alive()
	p.command("intents", "move-aside", p.store)
	p.acked = nil
	p.heals()
	p.alive()
	p.audit()
}

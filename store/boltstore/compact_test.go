package boltstore

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store"
)

// grown is a closed store that has had many intents and has kept one.
func grown(t *testing.T) (dir string, kept store.Held) {
	t.Helper()
	dir = t.TempDir()
	s := openIn(t, dir)
	kept = add(t, s)
	for range 300 {
		held := add(t, s)
		change := reported(held, 10)
		change.Intent.Message = string(bytes.Repeat([]byte("m"), 1000))
		require.NoError(t, s.Append(t.Context(), change))
		end(t, s, store.Held{Lease: held.Lease, Intent: change.Intent})
	}
	removed, err := s.Purge(t.Context(), noon.AddDate(1, 0, 0), 1000)
	require.NoError(t, err)
	require.Equal(t, 300, removed)
	require.NoError(t, s.Close())
	return dir, kept
}

func TestCompactingGivesRoomBackAndLosesNothing(t *testing.T) {
	dir, kept := grown(t)
	link := filepath.Join(t.TempDir(), "link.db")
	require.NoError(t, os.Symlink(pathIn(dir), link))
	require.NoError(t, os.Chmod(pathIn(dir), 0o640))
	before, after, err := Compact(link)
	require.NoError(t, err)
	require.Less(t, after, before/2)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type(), "a link stays one")
	info, err = os.Stat(pathIn(dir))
	require.NoError(t, err)
	require.Equal(t, after, info.Size())
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	requireAlone(t, dir)

	s := openIn(t, dir)
	_, events, err := s.Events(t.Context(), kept.ID, 0)
	require.NoError(t, err)
	require.Len(t, events, int(kept.Intent.Seq))
	add(t, s)
}

func TestCompactingRefusesAndLeavesTheFile(t *testing.T) {
	for _, refused := range []struct {
		what  string
		spoil func(t *testing.T, dir string)
		says  error
	}{
		{"a file that is in use", func(t *testing.T, dir string) { openIn(t, dir) }, ErrInUse},
		{"a damaged file", func(t *testing.T, dir string) { require.NoError(t, os.Truncate(pathIn(dir), 40960)) }, ErrDamaged},
		{"nothing", func(t *testing.T, dir string) { require.NoError(t, os.Remove(pathIn(dir))) }, os.ErrNotExist},
	} {
		t.Run(refused.what, func(t *testing.T) {
			dir, _ := grown(t)
			refused.spoil(t, dir)
			before, _ := os.ReadFile(pathIn(dir))
			_, _, err := Compact(pathIn(dir))
			require.ErrorIs(t, err, refused.says)
			require.ErrorContains(t, err, pathIn(dir))
			after, _ := os.ReadFile(pathIn(dir))
			require.True(t, bytes.Equal(before, after))
		})
	}
}

// requireAlone asserts that the store is the only file in its directory.
func requireAlone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(pathIn(dir)))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// Who waited for the file while another one was put in its place must not work on
// the one that nobody will find again.
func TestAFileThatWasReplacedMeanwhileIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	add(t, s)
	opened := make(chan error)
	go func() {
		waiting := &Store{path: pathIn(dir), log: s.log, claims: newClaims(), down: make(chan struct{})}
		opened <- guard(func() error { return waiting.openFile(10 * time.Second) })
	}()
	whole, err := os.ReadFile(pathIn(dir))
	require.NoError(t, err)
	other := pathIn(dir) + ".other"
	require.NoError(t, os.WriteFile(other, whole, 0o600))
	require.NoError(t, os.Rename(other, pathIn(dir)))
	require.NoError(t, s.Close())
	if err := <-opened; err != nil { // else it came late enough to see the new one
		require.ErrorIs(t, err, errReplaced)
	}
}

func TestOnlyADamagedFileIsMovedAside(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	add(t, s)
	_, err := MoveAside(pathIn(dir), noon)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, s.Close())
	_, err = MoveAside(pathIn(dir), noon)
	require.ErrorIs(t, err, ErrSound)
	require.NoError(t, os.Truncate(pathIn(dir), 8192))
	damaged, err := os.ReadFile(pathIn(dir))
	require.NoError(t, err)

	to, err := MoveAside(pathIn(dir), noon)
	require.NoError(t, err)
	require.Equal(t, pathIn(dir)+".damaged-20260301T120000Z", to)
	kept, err := os.ReadFile(to)
	require.NoError(t, err)
	require.True(t, bytes.Equal(damaged, kept), "it is kept as it was")
	s = openIn(t, dir)
	add(t, s)
}

package boltstore

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store"
)

// A limit of the file's size stands in for a full disk: writes to pages past it
// fail in the same places, one after the other as the limit goes down.
func TestFullDiskStopsChangesNotReadsAndHeals(t *testing.T) {
	if !inProcessOfItsOwn(t) {
		return
	}
	for _, disk := range []struct {
		name  string
		limit uint64
	}{
		{"the file cannot grow", 1 << 17},
		{"no page can be written", 4096 * 2},
		{"nothing at all can be written", 1},
	} {
		t.Run(disk.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			held := add(t, s)
			large := reported(held, 10)
			large.Intent.Message = string(make([]byte, 1<<18)) // more than the file has room for

			allow := limitFiles(t, disk.limit)
			for range 3 {
				answers, _ := group(t, s,
					func(ctx context.Context) error { return s.Append(ctx, large) },
					func(ctx context.Context) error { _, err := s.Take(ctx, held.ID); return err },
				)
				for _, err := range answers {
					require.ErrorIs(t, err, store.ErrFull)
				}
				in, events, err := s.Events(t.Context(), held.ID, 0)
				require.NoError(t, err)
				require.Equal(t, held.Intent.Seq, in.Seq)
				require.Len(t, events, int(in.Seq))
			}
			allow()

			require.NoError(t, s.Append(t.Context(), large))
			require.NoError(t, s.Close())
			in, err := openIn(t, dir).Get(t.Context(), held.ID)
			require.NoError(t, err)
			require.Equal(t, large.Intent.Seq, in.Seq)
		})
	}
}

func TestStoreClosesOnAFullDisk(t *testing.T) {
	if !inProcessOfItsOwn(t) {
		return
	}
	dir := t.TempDir()
	s := openIn(t, dir)
	held := add(t, s)
	allow := limitFiles(t, 1)
	require.NoError(t, s.Close())
	allow()
	_, err := openIn(t, dir).Get(t.Context(), held.ID)
	require.NoError(t, err)
}

// What the first try leaves must not be taken for a damaged store by the next.
func TestANewStoreIsMadeAsSoonAsThereIsRoom(t *testing.T) {
	if !inProcessOfItsOwn(t) {
		return
	}
	for _, limit := range []uint64{1, 4096, 8192, 1 << 14} {
		dir := t.TempDir()
		allow := limitFiles(t, limit)
		for range 2 {
			_, err := Open(pathIn(dir), Options{})
			require.Error(t, err)
			require.NotErrorIs(t, err, ErrDamaged)
		}
		allow()
		add(t, openIn(t, dir))
		requireAlone(t, dir)
	}
}

func TestCompactingWithoutRoomLeavesTheFile(t *testing.T) {
	if !inProcessOfItsOwn(t) {
		return
	}
	for _, limit := range []uint64{1, 8192, 1 << 14} {
		dir, kept := grown(t)
		before, err := os.ReadFile(pathIn(dir))
		require.NoError(t, err)
		allow := limitFiles(t, limit)
		_, _, err = Compact(pathIn(dir))
		require.Error(t, err)
		require.True(t, noRoom(err), "%v", err)
		allow()
		after, err := os.ReadFile(pathIn(dir))
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after))
		requireAlone(t, dir)
		_, err = openIn(t, dir).Get(t.Context(), kept.ID)
		require.NoError(t, err)
	}
}

// A device that takes writes and cannot sync them is put in the place of the file.
func TestFailedSyncOfDataStoresNothingAndHeals(t *testing.T) {
	s := openIn(t, t.TempDir())
	held := add(t, s)
	require.NoError(t, s.Append(t.Context(), reported(held, 10)))

	restore := replaceFile(t, s, os.DevNull)
	in, events := begun()
	_, err := s.Create(t.Context(), in, events)
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.NotErrorIs(t, err, store.ErrFull)
	_, err = s.Get(t.Context(), in.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.Get(t.Context(), held.ID)
	require.NoError(t, err)
	restore()

	_, err = s.Create(t.Context(), in, events)
	require.NoError(t, err)
}

// inProcessOfItsOwn has the test run again in a process where nothing else writes
// files, such as the log of the go command. It reports whether this is that process.
func inProcessOfItsOwn(t *testing.T) bool {
	t.Helper()
	const mark = "BOLTSTORE_TEST_CHILD"
	if os.Getenv(mark) != "" {
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), mark+"=1")
	output, err := child.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "--- PASS: "+t.Name())
	return false
}

// limitFiles bounds the size of the files that this process writes.
func limitFiles(t *testing.T, size uint64) (allow func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ) // sent along with the error
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}))
	allow = func() {
		_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)
		signal.Reset(syscall.SIGXFSZ)
	}
	t.Cleanup(allow)
	return allow
}

// replaceFile lets the store's file descriptor lead elsewhere.
func replaceFile(t *testing.T, s *Store, name string) (restore func()) {
	t.Helper()
	other, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	fd := int(s.file.Fd())
	kept, err := syscall.Dup(fd)
	require.NoError(t, err)
	require.NoError(t, syscall.Dup3(int(other.Fd()), fd, syscall.O_CLOEXEC))
	return func() {
		require.NoError(t, syscall.Dup3(kept, fd, syscall.O_CLOEXEC))
		require.NoError(t, syscall.Close(kept))
	}
}

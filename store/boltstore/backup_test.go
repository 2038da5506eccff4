package boltstore

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// backUp copies a store into a directory of its own, where openIn finds it.
func backUp(t *testing.T, s *Store) (dir string) {
	t.Helper()
	var copied bytes.Buffer
	var said int64
	require.NoError(t, s.BackUp(t.Context(), func(size int64) io.Writer {
		said = size
		return &copied
	}))
	require.EqualValues(t, said, copied.Len())
	dir = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Dir(pathIn(dir)), 0o700))
	require.NoError(t, os.WriteFile(pathIn(dir), copied.Bytes(), 0o600))
	return dir
}

// The copy has the latest transaction on its first page, whichever page it was on.
func TestABackupIsAStoreAfterAnyTransaction(t *testing.T) {
	s := openIn(t, t.TempDir())
	var all []intent.ID
	for range 4 {
		all = append(all, add(t, s).ID)
		dir := backUp(t, s)
		require.NoError(t, Check(pathIn(dir)))
		copied := openIn(t, dir)
		for _, id := range all {
			_, events, err := copied.Events(t.Context(), id, 0)
			require.NoError(t, err)
			require.Len(t, events, 3)
		}
		claimed, err := copied.Claim(t.Context(), 100)
		require.NoError(t, err)
		require.Len(t, claimed, len(all), "whoever restores it goes on with them")
	}
}

func TestABackupUnderWritesIsOneMoment(t *testing.T) {
	s := openIn(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				in, events := begun()
				held, err := s.Create(t.Context(), in, events)
				if err == nil {
					err = s.Append(t.Context(), reported(held, 10))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		dir := backUp(t, s)
		require.NoError(t, Check(pathIn(dir)))
		copied, err := Open(pathIn(dir), Options{})
		require.NoError(t, err)
		page, err := copied.List(t.Context(), store.Filter{Limit: 10})
		require.NoError(t, err)
		for _, in := range page.Intents {
			_, events, err := copied.Events(t.Context(), in.ID, 0)
			require.NoError(t, err)
			require.Len(t, events, int(in.Seq))
		}
		require.NoError(t, copied.Close())
	}
	stop()
	writers.Wait()
}

func TestABackupEndsWithItsReceiver(t *testing.T) {
	s := openIn(t, t.TempDir())
	add(t, s)
	ctx, leave := context.WithCancel(t.Context())
	err := s.BackUp(ctx, func(int64) io.Writer {
		leave()
		return io.Discard
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Close(), "nothing is kept open")
	require.ErrorIs(t, s.BackUp(t.Context(), func(int64) io.Writer { return io.Discard }), store.ErrUnavailable)
}

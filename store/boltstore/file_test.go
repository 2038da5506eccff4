package boltstore

import (
	"bytes"
	"cmp"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/store"
)

func TestNewStoreIsForItsUserOnly(t *testing.T) {
	dir := t.TempDir()
	openIn(t, dir)
	file, err := os.Stat(pathIn(dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), file.Mode().Perm())
	parent, err := os.Stat(filepath.Dir(pathIn(dir)))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), parent.Mode().Perm())
}

func TestOpenRefuses(t *testing.T) {
	for _, refused := range []struct {
		what  string
		spoil func(t *testing.T, path string)
		says  string
	}{
		{"a file that is in use", func(t *testing.T, path string) {
			s, err := Open(path, Options{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
		}, "in use by another process"},
		{"a newer schema", func(t *testing.T, path string) {
			update(t, path, func(tx *bbolt.Tx) error {
				return putNumber(tx.Bucket(bucketMeta), keySchema, schema+1)
			})
		}, "schema 3"},
		{"a database of somebody else", func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			update(t, path, func(tx *bbolt.Tx) error {
				_, err := tx.CreateBucket([]byte("acme"))
				return err
			})
		}, "not one of intents"},
		{"a text", func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("no store\n"), 9000), 0o600))
		}, "damaged or no store"},
		{"a short text", func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
		}, ""},
		{"half of a file", func(t *testing.T, path string) {
			require.NoError(t, os.Truncate(path, 8192))
		}, "damaged"},
		{"a file that lost both of its first pages", func(t *testing.T, path string) {
			scribble(t, path, 0, make([]byte, 8192))
		}, "damaged"},
		{"a file that lost its trees", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			scribble(t, path, 8192, make([]byte, info.Size()-8192))
		}, "damaged"},
		{"a directory", func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		}, "not a regular file"},
	} {
		t.Run(refused.what, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			add(t, s)
			require.NoError(t, s.Close())
			refused.spoil(t, pathIn(dir))
			before, _ := os.ReadFile(pathIn(dir))

			_, err := Open(pathIn(dir), Options{Timeout: 60 * time.Millisecond})
			require.ErrorContains(t, err, pathIn(dir))
			require.ErrorContains(t, err, refused.says)
			after, _ := os.ReadFile(pathIn(dir))
			require.True(t, bytes.Equal(before, after), "it touched the file")
		})
	}
}

// Whatever happened to the file: Open or a later call says so, or does not notice.
// A panic ends the test, also one in a goroutine of bbolt.
func TestDamageNeverPanics(t *testing.T) {
	for _, end := range []struct {
		name  string
		crash bool
	}{{"after a clean end", false}, {"after a crash", true}} {
		t.Run(end.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			for range 40 {
				held := add(t, s)
				require.NoError(t, s.Append(t.Context(), reported(held, 10)))
			}
			require.NoError(t, s.Close())
			if end.crash {
				dirty(t, dir)
			}
			whole, err := os.ReadFile(pathIn(dir))
			require.NoError(t, err)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			chance := rand.New(rand.NewPCG(seed, 0))
			noticed := 0
			for range 200 {
				damaged := bytes.Clone(whole)
				damage(chance, damaged)
				require.NoError(t, os.WriteFile(pathIn(dir), damaged, 0o600))
				if useAll(t, dir) != nil {
					noticed++
				}
			}
			require.NotZero(t, noticed)
		})
	}
}

// damage spoils some places of a file, heads of pages more often than not.
func damage(chance *rand.Rand, file []byte) {
	for range 1 + chance.IntN(4) {
		page := 2 + chance.IntN(len(file)/4096-2)
		at := chance.IntN(64)
		if chance.IntN(3) == 0 {
			at = chance.IntN(4096)
		}
		switch place := file[page*4096+at:]; chance.IntN(3) {
		case 0:
			place[0] ^= 1 << chance.IntN(8)
		case 1:
			copy(place, bytes.Repeat([]byte{0xff}, 8))
		case 2:
			copy(file[page*4096:], file[4096*(2+chance.IntN(len(file)/4096-2)):][:4096])
		}
	}
}

// useAll opens the store, reads, changes and removes what is in it, and closes it.
func useAll(t *testing.T, dir string) error {
	s, err := Open(pathIn(dir), Options{})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	_, listErr := s.List(t.Context(), store.Filter{Limit: 1000})
	claimed, claimErr := s.Claim(t.Context(), 1000)
	err = cmp.Or(listErr, claimErr)
	for _, held := range claimed[:min(5, len(claimed))] {
		_, _, eventsErr := s.Events(t.Context(), held.ID, 0)
		err = cmp.Or(err, eventsErr, s.Append(t.Context(), reported(held, 20)))
	}
	_, purgeErr := s.Purge(t.Context(), noon.AddDate(1, 0, 0), 100)
	return cmp.Or(err, purgeErr)
}

func TestEmptyFileIsANewStoreWithAWarning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intents.db")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	var log bytes.Buffer
	s, err := Open(path, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Contains(t, log.String(), "level=WARN msg=\"store file is empty")
}

func TestFileOfACrashBeforeTheFirstCommitIsOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intents.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	s, err := Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func update(t *testing.T, path string, f func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	require.NoError(t, err)
	require.NoError(t, db.Update(f))
	require.NoError(t, db.Close())
}

func scribble(t *testing.T, path string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(with, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

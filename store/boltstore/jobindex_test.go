package boltstore

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// few is how many entries wait in these tests before they are moved.
const few = 20

func (s *Store) moveSoon() *Store {
	s.jobs.enough = few
	return s
}

func jobOf(held store.Held) store.JobKey { return store.KeyOf(&held.Intent) }

// found are the intents that the index finds for the jobs of some intents.
func found(t *testing.T, s *Store, of []store.Held) (ids []intent.ID) {
	t.Helper()
	for _, held := range of {
		id, err := s.ByJob(t.Context(), jobOf(held))
		if err != nil {
			require.ErrorIs(t, err, store.ErrNotFound)
		}
		ids = append(ids, id)
	}
	return ids
}

func idsOf(all []store.Held) (ids []intent.ID) {
	for _, held := range all {
		ids = append(ids, held.ID)
	}
	return ids
}

// entries are the keys in the bucket of the index, and the rows of what waits.
func entries(t *testing.T, s *Store) (indexed, rows int) {
	t.Helper()
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error {
		b := bucketsOf(tx)
		indexed = b.job.Stats().KeyN
		rows = b.rows[0].Stats().KeyN + b.rows[1].Stats().KeyN
		return nil
	}))
	return indexed, rows
}

func TestEveryJobIsFoundWhileEntriesMove(t *testing.T) {
	s := openIn(t, t.TempDir()).moveSoon()
	var made []store.Held
	for range 10 * few {
		made = append(made, add(t, s))
		require.Equal(t, idsOf(made), found(t, s, made))
	}
	indexed, rows := entries(t, s)
	require.Greater(t, indexed, 5*few)
	require.Less(t, rows, 5*few, "moved ones leave no rows")
}

func TestReadersFindJobsWhileOthersAreMade(t *testing.T) {
	s := openIn(t, t.TempDir()).moveSoon()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 * few {
				in, events := begun()
				held, err := s.Create(t.Context(), in, events)
				if err != nil {
					t.Error(err)
					return
				}
				if id, err := s.ByJob(t.Context(), jobOf(held)); id != in.ID {
					t.Error("not found:", err)
				}
			}
		})
	}
	all.Wait()
}

// A crash leaves the file as its last transaction did: in the middle of a move.
func TestEveryJobIsFoundAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir).moveSoon()
	var made []store.Held
	for range 4 * few {
		made = append(made, add(t, s))
		file, err := os.ReadFile(pathIn(dir))
		require.NoError(t, err)
		crashed := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Dir(pathIn(crashed)), 0o700))
		require.NoError(t, os.WriteFile(pathIn(crashed), file, 0o600))
		again := openIn(t, crashed).moveSoon()
		after := append(slices.Clip(made), add(t, again))
		require.Equal(t, idsOf(after), found(t, again, after))
		require.NoError(t, again.Close())
	}
}

func TestTheLatestIntentOfAJobIsFound(t *testing.T) {
	s := openIn(t, t.TempDir()).moveSoon()
	first := add(t, s)
	for range 6 * few {
		in, events := begun()
		in.StatusURL = first.Intent.StatusURL
		held, err := s.Create(t.Context(), in, events)
		require.NoError(t, err)
		require.Equal(t, []intent.ID{held.ID}, found(t, s, []store.Held{first}))
		add(t, s)
		require.Equal(t, []intent.ID{held.ID}, found(t, s, []store.Held{first}))
	}
}

func TestNobodyAdoptsAJobWhoseEntryWaits(t *testing.T) {
	s := openIn(t, t.TempDir())
	held := add(t, s)
	in, events := begun()
	in.StatusURL = held.Intent.StatusURL
	_, err := s.Adopt(t.Context(), in, events, intent.ID{})
	require.ErrorIs(t, err, store.ErrExists)
	_, err = s.Adopt(t.Context(), in, events, held.ID)
	require.NoError(t, err)
	require.Equal(t, []intent.ID{in.ID}, found(t, s, []store.Held{held}))
}

func TestRemovedIntentsLeaveNoEntry(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir).moveSoon()
	var made []store.Held
	for range 3*few + few/2 { // some have moved, some are being moved, some wait
		held := add(t, s)
		end(t, s, held)
		made = append(made, held)
	}
	removed, err := s.Purge(t.Context(), noon.AddDate(0, 0, 2), len(made))
	require.NoError(t, err)
	require.Equal(t, len(made), removed)
	require.Equal(t, make([]intent.ID, len(made)), found(t, s, made))
	require.NoError(t, s.Close())

	s = openIn(t, dir).moveSoon()
	require.Equal(t, make([]intent.ID, len(made)), found(t, s, made))
	for range 3 * few {
		add(t, s)
	}
	indexed, rows := entries(t, s)
	require.LessOrEqual(t, indexed, 3*few)
	require.LessOrEqual(t, rows, 3*few)
	require.GreaterOrEqual(t, indexed+rows, 3*few)
}

func TestAFailedTransactionMovesNothing(t *testing.T) {
	s := openIn(t, t.TempDir()).moveSoon()
	var made []store.Held
	for range 6 * few {
		s.commit = func(tx *bbolt.Tx) error {
			_ = tx.Rollback()
			return errors.New("input/output error")
		}
		in, events := begun()
		lost := store.Held{Intent: in}
		_, err := s.Create(t.Context(), in, events)
		require.ErrorIs(t, err, store.ErrUnavailable)
		s.commit = (*bbolt.Tx).Commit
		require.Equal(t, []intent.ID{{}}, found(t, s, []store.Held{lost}))
		made = append(made, add(t, s))
		require.Equal(t, idsOf(made), found(t, s, made))
	}
}

func TestAFileOfTheSchemaBeforeIsOpened(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	held := add(t, s)
	_, stored, err := s.Events(t.Context(), held.ID, 0)
	require.NoError(t, err)
	require.Len(t, stored, 3)
	require.NoError(t, s.Close())
	update(t, pathIn(dir), func(tx *bbolt.Tx) error {
		job := hashOf(jobOf(held))
		events := tx.Bucket(bucketEvents)
		for _, event := range stored {
			value, err := json.Marshal(event)
			if err := errors.Join(err, events.Put(eventKey(held.ID, event.Seq), value)); err != nil {
				return err
			}
		}
		return errors.Join(
			tx.DeleteBucket(bucketRows[0]), tx.DeleteBucket(bucketRows[1]),
			tx.Bucket(bucketJob).Put(job[:], held.ID[:]),
			putNumber(tx.Bucket(bucketMeta), keySchema, 1))
	})

	s = openIn(t, dir)
	other := add(t, s)
	require.Equal(t, idsOf([]store.Held{held, other}), found(t, s, []store.Held{held, other}))
	for after := range stored {
		_, events, err := s.Events(t.Context(), held.ID, int64(after))
		require.NoError(t, err)
		require.Equal(t, stored[after:], events)
	}
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error {
		require.EqualValues(t, schema, number(tx.Bucket(bucketMeta), keySchema), "an older program would miss what waits")
		return nil
	}))
}

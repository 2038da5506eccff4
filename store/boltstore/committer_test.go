package boltstore

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

func TestWhatWaitsBecomesOneTransaction(t *testing.T) {
	s := openIn(t, t.TempDir())
	var calls []func(context.Context) error
	for range 100 {
		in, events := begun()
		calls = append(calls, func(ctx context.Context) error {
			_, err := s.Create(ctx, in, events)
			return err
		})
	}
	answers, transactions := group(t, s, calls...)
	require.Equal(t, make([]error, 100), answers)
	require.Equal(t, 1, transactions)
}

func TestChangesOfOneGroupSeeEachOther(t *testing.T) {
	s := openIn(t, t.TempDir())
	held := add(t, s)
	first := reported(held, 10)
	second := reported(store.Held{Lease: held.Lease, Intent: first.Intent}, 20)
	answers, transactions := group(t, s,
		func(ctx context.Context) error { return s.Append(ctx, first) },
		func(ctx context.Context) error { return s.Append(ctx, first) },
		func(ctx context.Context) error { return s.Append(ctx, second) },
	)
	require.Equal(t, []error{nil, nil, nil}, answers)
	require.Equal(t, 1, transactions)
	in, events, err := s.Events(t.Context(), held.ID, 0)
	require.NoError(t, err)
	require.Equal(t, second.Intent.Seq, in.Seq)
	require.Len(t, events, int(in.Seq))
}

func TestRefusedChangeLeavesItsGroupAlone(t *testing.T) {
	s := openIn(t, t.TempDir())
	good, fenced, late := add(t, s), add(t, s), add(t, s)
	require.NoError(t, s.Append(t.Context(), reported(late, 10)))
	answers, transactions := group(t, s,
		func(ctx context.Context) error { _, err := s.Take(ctx, fenced.ID); return err },
		func(ctx context.Context) error { return s.Append(ctx, reported(fenced, 10)) },
		func(ctx context.Context) error { return s.Append(ctx, reported(late, 20)) },
		func(ctx context.Context) error { return s.Append(ctx, reported(good, 10)) },
	)
	require.NoError(t, answers[0])
	require.ErrorIs(t, answers[1], store.ErrFenced)
	require.ErrorIs(t, answers[2], store.ErrConflict)
	require.NoError(t, answers[3])
	require.Equal(t, 1, transactions)
	in, err := s.Get(t.Context(), good.ID)
	require.NoError(t, err)
	require.Equal(t, good.Intent.Seq+1, in.Seq)
}

func TestGroupThatChangesNothingWaitsForNoDisk(t *testing.T) {
	s := openIn(t, t.TempDir())
	held := add(t, s)
	answers, transactions := group(t, s,
		func(ctx context.Context) error { return s.Release(ctx, held.Lease) },
	)
	require.NoError(t, answers[0])
	require.Zero(t, transactions)
}

func TestCallerThatLeavesEarlyStoresNothing(t *testing.T) {
	s := openIn(t, t.TempDir())
	in, events := begun()
	impatient, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	answers, _ := group(t, s, func(context.Context) error {
		defer close(left)
		return s.committer.do(impatient, &op{apply: func(*txn) error { panic("applied") }})
	}, func(ctx context.Context) error {
		leave()
		<-left
		_, err := s.Create(ctx, in, events)
		return err
	})
	require.ErrorIs(t, answers[0], context.Canceled)
	require.NoError(t, answers[1])
}

// A commit whose last sync fails may be on the disk or not. Nobody is told that it
// is not, nothing is built on it, and the next Open shows what is there.
func TestUncertainCommitStopsTheStore(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	before := add(t, s)
	broken := errors.New("input/output error")
	s.commit = func(tx *bbolt.Tx) error { return errors.Join(tx.Commit(), broken) }
	in, events := begun()
	_, err := s.Create(t.Context(), in, events)
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, store.ErrUnavailable)
	require.NotErrorIs(t, err, store.ErrFull)

	require.ErrorIs(t, s.Append(t.Context(), reported(before, 10)), store.ErrUnavailable)
	_, err = s.Get(t.Context(), in.ID)
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.NoError(t, s.Close())

	again := openIn(t, dir)
	_, err = again.Get(t.Context(), in.ID)
	require.NoError(t, err)
}

// Between the write of its last page and the sync of it a commit can be seen in the
// file, and be gone after a power cut.
func TestNobodyReadsWhatIsNotSyncedYet(t *testing.T) {
	for _, end := range []struct {
		name string
		err  error
	}{{"a sync that succeeds", nil}, {"a sync that fails", errors.New("input/output error")}} {
		t.Run(end.name, func(t *testing.T) {
			s := openIn(t, t.TempDir())
			kept := add(t, s)
			written, synced := make(chan struct{}), make(chan struct{})
			s.commit = func(tx *bbolt.Tx) error {
				defer func() { <-synced }()
				defer close(written)
				return errors.Join(tx.Commit(), end.err)
			}
			in, events := begun()
			var running sync.WaitGroup
			running.Go(func() { _, _ = s.Create(t.Context(), in, events) })
			<-written
			read := make(chan error, 2)
			for _, id := range []intent.ID{in.ID, kept.ID} {
				running.Go(func() {
					_, err := s.Get(t.Context(), id)
					read <- err
				})
			}
			for range 1000 {
				runtime.Gosched()
			}
			require.Empty(t, read, "somebody was told")
			close(synced)
			running.Wait()
			for range 2 {
				if err := <-read; end.err == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, store.ErrUnavailable)
				}
			}
		})
	}
}

func TestPanicOfTheDatabaseEndsTheStoreOnly(t *testing.T) {
	for _, at := range []struct {
		name   string
		commit func(*bbolt.Tx) error
	}{
		{"before the commit", func(*bbolt.Tx) error { panic("page 7 already freed") }},
		{"within the commit", func(tx *bbolt.Tx) error {
			_ = tx.Rollback()
			panic("page 7 already freed")
		}},
	} {
		t.Run(at.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			kept := add(t, s)
			s.commit = at.commit
			in, events := begun()
			_, err := s.Create(t.Context(), in, events)
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.ErrorContains(t, err, "page 7 already freed")
			_, err = s.Claim(t.Context(), 1)
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.NoError(t, s.Close())

			again := openIn(t, dir)
			_, err = again.Get(t.Context(), in.ID)
			require.ErrorIs(t, err, store.ErrNotFound)
			_, err = again.Get(t.Context(), kept.ID)
			require.NoError(t, err)
		})
	}
}

func TestNewsComeOnceTheirCommitIsSynced(t *testing.T) {
	s := openIn(t, t.TempDir())
	held := add(t, s)
	heard, early := make(chan store.Signal, 10), 0
	stop := s.Listen(func(sig store.Signal) { heard <- sig })
	defer stop()
	s.commit = func(tx *bbolt.Tx) error {
		err := tx.Commit()
		early += len(heard)
		return err
	}
	change := reported(held, 10)
	require.NoError(t, s.Append(t.Context(), change))
	require.Equal(t, change.Events[0].Seq, (<-heard).News.Events[0].Seq)
	require.Empty(t, heard)
	require.Zero(t, early)
}

func TestFailedCommitIsHeardByNobody(t *testing.T) {
	s := openIn(t, t.TempDir())
	held := add(t, s)
	s.commit = func(tx *bbolt.Tx) error {
		_ = tx.Rollback()
		return errors.New("input/output error")
	}
	heard := make(chan store.Signal, 10)
	stop := s.Listen(func(sig store.Signal) { heard <- sig })
	defer stop()
	answers, transactions := group(t, s,
		func(ctx context.Context) error { return s.Append(ctx, reported(held, 10)) },
		func(ctx context.Context) error { _, err := s.Take(ctx, held.ID); return err },
		func(ctx context.Context) error { return s.Release(ctx, held.Lease) },
	)
	for _, err := range answers {
		require.ErrorIs(t, err, store.ErrUnavailable)
	}
	require.Zero(t, transactions)
	require.Empty(t, heard)

	s.commit = (*bbolt.Tx).Commit
	require.NoError(t, s.Append(t.Context(), reported(held, 10)), "the holder is who it was")
	signal := <-heard
	require.Equal(t, store.Signal{ID: held.ID, Kind: store.Appended, News: signal.News}, signal)
	claimed, err := s.Claim(t.Context(), 1)
	require.NoError(t, err)
	require.Empty(t, claimed)
}

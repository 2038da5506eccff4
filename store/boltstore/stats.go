package boltstore

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// Stats counts what is kept. It goes through the pages of the index, not through the
// records: a million intents take less than a second.
func (s *Store) Stats(ctx context.Context) (st store.Stats, err error) {
	err = s.view(ctx, func(t *txn) error {
		st = store.Stats{
			Running:  t.active.Stats().KeyN,
			Ended:    t.done.Stats().KeyN,
			Messages: t.outbox.Stats().KeyN,
			Size:     t.active.Tx().Size(),
			Free:     int64(s.db.Stats().FreePageN) * int64(s.db.Info().PageSize),
		}
		return nil
	})
	return st, err
}

// Since is when the store was begun; zero if the file does not say.
func (s *Store) Since() (since time.Time) {
	_ = s.view(context.Background(), func(t *txn) error { // who cannot read that can read nothing
		if n := number(t.active.Tx().Bucket(bucketMeta), keySince); n > 0 {
			since = time.Unix(int64(n), 0)
		}
		return nil
	})
	return since
}

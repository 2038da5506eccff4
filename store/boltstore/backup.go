package boltstore

import (
	"cmp"
	"context"
	"fmt"
	"io"
)

// BackUp writes the store as it stands to what begin returns, which is told the
// number of bytes first. The copy is a file that Open opens. Reads and changes go on
// meanwhile, but for one thing: a change that makes the file outgrow its mapping
// waits, and all others behind it. So w must not be slow for long.
func (s *Store) BackUp(ctx context.Context, begin func(size int64) io.Writer) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	tx, err := s.snapshot()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // cannot fail on an open transaction
	if _, err := tx.WriteTo(&whileUsable{ctx, s, begin(tx.Size())}); err != nil {
		return fmt.Errorf("copying %s: %w", s.path, cmp.Or(s.usable(ctx), err)) // bbolt does not wrap
	}
	return nil
}

// whileUsable ends a copy with its context, and with the store: Close waits for it.
type whileUsable struct {
	ctx context.Context
	s   *Store
	w   io.Writer
}

func (w *whileUsable) Write(b []byte) (int, error) {
	if err := w.s.usable(w.ctx); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}

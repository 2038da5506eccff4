package boltstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// ByKey is the method of [store.Reader].
func (s *Store) ByKey(ctx context.Context, key string) (in intent.Intent, replay store.Replay, err error) {
	err = s.view(ctx, func(t *txn) error {
		value := t.key.Get([]byte(key))
		if len(value) != len(intent.ID{}) {
			return store.ErrNotFound
		}
		id := intent.ID(value)
		r, _, err := t.find(id)
		if err != nil {
			return err
		}
		if in, err = t.intent(id, &r); err != nil {
			return err
		}
		raw := t.replay.Get(id[:])
		if raw == nil {
			return nil
		}
		if err := json.Unmarshal(raw, &replay); err != nil {
			return fmt.Errorf("decoding the replay of intent %s: %w", id, err)
		}
		return nil
	})
	return in, replay, err
}

// keyTaken reports whether an idempotency key leads to an intent or a reservation.
func (t *txn) keyTaken(key string) bool {
	return key != "" && t.key.Get([]byte(key)) != nil
}

func encodeReplay(r *store.Replay) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding a replay: %w", err)
	}
	return b, nil
}

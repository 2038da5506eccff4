package webhook

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// ErrBadID is returned by [Find] for what is no Webhook-Id of ours.
var ErrBadID = errors.New("not a message's id")

// Find returns the message with a Webhook-Id; store.ErrNotFound says that it has been
// taken or discarded.
func Find(ctx context.Context, outbox Outbox, id string) (store.Message, error) {
	of, ok := strings.CutPrefix(id, "msg_")
	parts := strings.Split(of, "_")
	if !ok || len(parts) != 3 {
		return store.Message{}, ErrBadID
	}
	about, err := intent.ParseID(parts[0])
	seq, err2 := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || err2 != nil || seq < 1 {
		return store.Message{}, ErrBadID
	}
	const step = 100
	after := store.MessageID{Intent: about, Seq: seq - 1}
	for {
		page, err := outbox.Messages(ctx, after, step)
		if err != nil {
			return store.Message{}, err
		}
		for _, m := range page {
			if after = m.MessageID; IDOf(after) == id {
				return m, nil
			}
			if after.Intent != about || after.Seq > seq {
				return store.Message{}, store.ErrNotFound
			}
		}
		if len(page) < step {
			return store.Message{}, store.ErrNotFound
		}
	}
}

package webhook

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

func TestAMessageIsFoundByTheIDThatItsReceiverSees(t *testing.T) {
	s := memstore.New()
	now := time.Now()
	var all []store.MessageID
	for range 3 {
		in := intent.Intent{ID: intent.NewID(now, 0), Origin: intent.Origin{Scope: "default", Job: "report", Created: now}}
		in, events := in.Begin(now)
		for i := range events {
			for to := range 150 {
				events[i].Tell = append(events[i].Tell, fmt.Sprintf("to-%d", to))
			}
			events[i].Tell = append(events[i].Tell, "")
		}
		_, err := s.Create(t.Context(), in, events)
		require.NoError(t, err)
		for _, e := range events {
			for _, to := range e.Tell {
				all = append(all, store.MessageID{Intent: in.ID, Seq: e.Seq, To: to})
			}
		}
	}
	for _, id := range all {
		m, err := Find(t.Context(), s, IDOf(id))
		require.NoError(t, err)
		require.Equal(t, id, m.MessageID)
	}
	require.NoError(t, s.Discard(t.Context(), all[7]))
	_, err := Find(t.Context(), s, IDOf(all[7]))
	require.ErrorIs(t, err, store.ErrNotFound)
	for _, bad := range []string{"", "msg_", "msg_x_1_y", IDOf(all[0])[4:], "msg_" + all[0].Intent.String() + "_0_abc", IDOf(all[0]) + "_1"} {
		_, err := Find(t.Context(), s, bad)
		require.ErrorIs(t, err, ErrBadID, bad)
	}
}

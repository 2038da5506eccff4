package observe

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestAStampIsOfOneIntentAndAnyNumberComesThrough(t *testing.T) {
	one := &intent.Intent{ID: intent.NewID(time.Unix(1000, 0), 0)}
	other := &intent.Intent{ID: intent.NewID(time.Unix(1000, 0), 0)}
	for _, id := range []int64{0, 1, 7, 1<<stampedBits - 1, 1 << stampedBits, 1<<63 - 1} {
		out := stamped(one, id)
		require.Equal(t, id, unstamped(one, out))
		require.Equal(t, id, unstamped(one, id), "as it was before there were stamps")
		require.Equal(t, split(id).seq, split(out).seq)
		if id < 1<<stampedBits {
			require.Less(t, out, int64(1)<<53, "JavaScript counts no further")
			require.Equal(t, out, unstamped(other, out))
		}
	}
	require.Equal(t, int64(unsaid), unstamped(one, unsaid))
}

func TestAClientOfTheJobsOwnURLGoesOnAtItsIntent(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		job.says("running")
		obs := tt.observes(job.stream(), "Last-Event-ID", strconv.FormatInt(stamped(&job.in, 2), 10)).opens()
		obs.wantSeqs(3, 4)
		obs.leave()
	})
}

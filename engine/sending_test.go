package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// inFlight bounds how many polls there are at the same time.
func inFlight(n int) func(*engine.Job, *adapter.Spec) {
	return func(j *engine.Job, _ *adapter.Spec) { j.Backend.InFlight = n }
}

func TestADeliveryThatHangsHoldsUpNoPoll(t *testing.T) {
	for _, places := range []int{1, 2, 3, 4, 8} {
		inBubble(t, func(t *testing.T, et *tester) {
			polled := et.queue()
			et.advance(time.Second)
			et.watch(polled, time.Hour)
			et.backend.Meets(legacytest.Submits, legacytest.Hang, legacytest.Always)
			for range 10 {
				et.queue()
			}
			et.advance(4 * time.Minute)
			at := et.pollsAt("job-1")
			require.Greater(t, len(at), 115)
			for i := range at[1:] {
				require.LessOrEqual(t, at[i+1]-at[i], 2*time.Second, "poll %d with %d places", i+1, places)
			}
		}, queued(), inFlight(places))
	}
}

func TestDeliveriesThatHangGiveUpTheirPlaces(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		first, second := et.besides("other")
		et.backend.Meets(legacytest.Submits, legacytest.Hang, 3)
		for range 10 {
			et.queue()
		}
		et.advance(3*first.Pace.Timeout - time.Second)
		require.Equal(t, 3, et.posts(), "one after the other")
		et.advance(time.Minute)
		require.Equal(t, 3, et.posts(), "three of one job, and no more")
		et.job = second
		id := et.queue()
		et.advance(time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.job = first
		et.advance(4 * time.Minute)
		require.Equal(t, 3+1+7, et.posts(), "the others of the first job go when those that hung are over")
		require.Zero(t, et.engine.Backends()[0].Running)
	}, queued(), inFlight(1))
}

func TestADeliveryThatIsAnsweredLateIsDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Late(4*time.Minute), legacytest.Always)
		var ids []intent.ID
		for range 8 {
			ids = append(ids, et.queue())
		}
		et.advance(13 * time.Minute)
		for _, id := range ids {
			require.Equal(t, intent.InProgress, et.get(id).Status, "of two jobs at a time three were at the backend")
		}
		require.Equal(t, 8, et.posts())
		require.Zero(t, et.engine.Backends()[0].Running)
	}, queued(), inFlight(2))
}

func TestOnePlaceIsForOnePollAndOneDelivery(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		for range 5 {
			et.submit()
		}
		et.job.Queue = new(engine.DefaultQueue)
		et.use(et.job)
		et.backend.Meets(legacytest.Polls, legacytest.Late(time.Second), legacytest.Always)
		et.backend.Meets(legacytest.Submits, legacytest.Late(time.Second), legacytest.Always)
		for range 5 {
			et.queue()
		}
		before := et.posts()
		require.Equal(t, 6, before)
		et.advance(4*time.Second + 900*time.Millisecond)
		require.Len(t, et.polls(), 5, "from half a second on, one at a time")
		require.Equal(t, 10, et.posts(), "at once, one at a time")
	}, inFlight(1))
}

func TestADeliveryThatHangsDoesNotKeepABackendDown(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Submits, legacytest.Code(500, ""), legacytest.Always)
		var ids []intent.ID
		for range 12 {
			ids = append(ids, et.queue())
		}
		et.advance(10 * time.Second)
		require.True(t, et.isDown(ids[0]))
		et.backend.Meets(legacytest.Submits, legacytest.Hang, legacytest.Always)
		down := et.posts()
		et.advance(3 * time.Minute)
		require.True(t, et.isDown(ids[0]))
		hung := et.posts() - down
		require.Greater(t, hung, 2, "the next probe does not wait for one that hangs")
		require.Less(t, hung, 9, "and they become rare")
		et.backend.Recovers()
		et.advance(time.Minute)
		delivered := 0
		for _, id := range ids {
			if et.get(id).Status == intent.InProgress {
				delivered++
			}
		}
		require.Equal(t, len(ids)-hung, delivered)
	}, queued(onUncertain(engine.UncertainResubmits)))
}

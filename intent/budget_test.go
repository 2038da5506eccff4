package intent_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestTheFirstReportsComeOneASecond(t *testing.T) {
	l := running(t, day)
	require.Len(t, l.reads(progress(1)), 1)
	for i := 1; i < intent.BriskReports; i++ {
		require.Empty(t, l.after(999*time.Millisecond).reads(progress(float64(i)+0.5)))
		require.Len(t, l.after(time.Millisecond).reads(progress(float64(i)+0.6)), 1, "report %d", i+1)
	}
	require.Empty(t, l.after(time.Second).reads(progress(90)), "from then on the pause grows")
}

// The figures of budget.go for a day, and what they come to for shorter deadlines.
func TestThePauseGrowsWithTheAge(t *testing.T) {
	cases := []struct {
		deadline, age, pause time.Duration
	}{
		{day, 10 * time.Minute, 25 * time.Second},
		{day, time.Hour, 147 * time.Second},
		{day, 2 * time.Minute, 5 * time.Second},
		{time.Hour, 30 * time.Minute, 41 * time.Second},
		{10 * time.Minute, 5 * time.Minute, 4 * time.Second},
		{time.Minute, 59 * time.Second, time.Second},
	}
	for _, c := range cases {
		told := func(sinceLast time.Duration) bool {
			l := running(t, c.deadline)
			l.now = start.Add(c.age)
			l.in.Reports, l.in.ReportedAt = intent.BriskReports, l.now.Add(-sinceLast)
			return len(l.reads(progress(50))) == 1
		}
		require.False(t, told(c.pause-time.Second), "deadline %s, age %s", c.deadline, c.age)
		require.True(t, told(c.pause+time.Second), "deadline %s, age %s", c.deadline, c.age)
	}
}

func TestPlacesLastUntilTheDeadline(t *testing.T) {
	for _, deadline := range []time.Duration{2 * time.Minute, 10 * time.Minute, time.Hour, day, 30 * day} {
		l := running(t, deadline)
		for i := range 100_000 {
			l.after(deadline / 100_000).reads(saying(strconv.Itoa(i)))
		}
		lastReport := l.last().At.Sub(start)
		require.Greater(t, lastReport, deadline*9/10, "deadline %s: nothing told after %s", deadline, lastReport)
		require.NotEmpty(t, l.ends(intent.TimedOut, nil))
		l.wantLawful()
	}
}

func TestWhatIsSkippedIsCarriedByTheNextEvent(t *testing.T) {
	l := running(t, day)
	require.Len(t, l.after(time.Second).reads(progress(10)), 1)
	require.Empty(t, l.after(100*time.Millisecond).reads(progress(20)))
	require.Empty(t, l.after(100*time.Millisecond).reads(saying("copying")))
	require.Equal(t, 20.0, *l.in.Progress, "the intent itself is up to date")

	events := l.after(time.Second).reads(intent.Reading{Status: intent.InProgress})
	require.Len(t, events, 1, "a reading without news carries what was skipped")
	require.Equal(t, 20.0, *events[0].Details.Progress)
	require.Equal(t, "copying", events[0].Details.Message)

	require.Empty(t, l.after(time.Millisecond).reads(progress(30)))
	l.after(time.Millisecond).reads(intent.Reading{Status: intent.Failed})
	require.Equal(t, 30.0, *l.last().Details.Progress, "so does the end")
}

// TestNoLogIsLongerThanItsBudget plays lives of chatty, flapping, moody backends
// and lets each end once its places are used up.
func TestNoLogIsLongerThanItsBudget(t *testing.T) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, seed))
	ends := []intent.Status{intent.Completed, intent.Failed, intent.Canceled, intent.TimedOut}
	for _, deadline := range []time.Duration{0, time.Second, time.Minute, 65 * time.Second, 5 * time.Minute, time.Hour, day} {
		for range 20 {
			l := running(t, deadline)
			for step := range 20_000 {
				l.after(time.Duration(rng.Int64N(int64(deadline/5_000 + 50*time.Millisecond))))
				switch rng.IntN(4) {
				case 0:
					l.waits("backend")
				case 1:
					l.reads(intent.Reading{Status: intent.InProgress, UnknownState: strconv.Itoa(step)})
				default:
					r := saying(strconv.Itoa(step))
					r.Progress = new(rng.Float64() * 100)
					l.reads(r)
				}
			}
			require.LessOrEqual(t, len(l.events), intent.MaxEvents-1, "the end has lost its place (seed %d, deadline %s)", seed, deadline)
			l.reads(intent.Reading{Status: ends[rng.IntN(len(ends))]})
			require.True(t, l.in.Status.Terminal())
			l.wantLawful()
		}
	}
}

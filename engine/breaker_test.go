package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A probed is a breaker with a clock, and some intents to ask about.
type probed struct {
	breaker
	t      *testing.T
	now    moment
	voices []*held
}

func newProbed(t *testing.T, intents int) *probed {
	p := &probed{t: t}
	for range intents {
		p.voices = append(p.voices, &held{lease: store.Lease{ID: intent.NewID(time.Now(), 0)}})
	}
	return p
}

// asks lets one request pass and tells what came of it after a while.
func (p *probed) asks(voice int, took time.Duration, h health, retryAfter ...time.Duration) {
	p.t.Helper()
	require.True(p.t, p.admits(p.now))
	v := verdict{health: h, started: p.now, pace: DefaultPace, about: p.voices[voice : voice+1]}
	for _, d := range retryAfter {
		v.retryAfter = d
	}
	probe := p.begin(p.now)
	p.now = p.now.add(took)
	p.finish(p.now, probe, v)
}

func (p *probed) dies() {
	p.t.Helper()
	for i := range openFailures {
		p.asks(i%openVoices, 300*time.Millisecond, sick)
	}
	require.Equal(p.t, open, p.state)
}

func TestABreakerOpensWhenNothingIsAnswered(t *testing.T) {
	cases := map[string]struct {
		intents  int
		failures int
		each     time.Duration
		want     breakerState
	}{
		"ten of three over two seconds": {3, 10, 250 * time.Millisecond, open},
		"one that hung":                 {3, 10, 10 * time.Second, open},
		"nine":                          {9, 9, time.Second, closed},
		"of two only":                   {2, 1000, time.Second, closed},
		"within a second":               {100, 100, 10 * time.Millisecond, closed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newProbed(t, c.intents)
			for i := range c.failures {
				p.asks(i%c.intents, c.each, sick)
			}
			require.Equal(t, c.want, p.state)
		})
	}
}

func TestAnAnswerBetweenFailuresKeepsABreakerClosed(t *testing.T) {
	p := newProbed(t, 10)
	for i := range 10_000 {
		p.asks(i%10, time.Second, map[bool]health{true: alive, false: sick}[i%10 == 0])
	}
	require.Equal(t, closed, p.state)
}

func TestWhatHangsWhileOthersAreAnsweredOpensNothing(t *testing.T) {
	p := newProbed(t, 100)
	for range 64 {
		require.True(t, p.admits(p.now))
		p.begin(p.now)
	}
	hung := p.now
	p.asks(0, time.Second, alive)
	p.now = p.now.add(9 * time.Second)
	for i := range 64 {
		p.finish(p.now, false, verdict{health: sick, started: hung, pace: DefaultPace, about: p.voices[i : i+1]})
	}
	require.Equal(t, closed, p.state)
	require.Zero(t, p.running)
}

func TestProbesComeOneByOneAndMoreAndMoreRarely(t *testing.T) {
	p := newProbed(t, 5)
	p.dies()
	var gaps []time.Duration
	for i := range 20 {
		before := p.now
		for !p.admits(p.now) {
			p.now = p.now.add(10 * time.Millisecond)
		}
		gaps = append(gaps, p.now.sub(before))
		probe := p.begin(p.now)
		require.True(t, probe)
		require.False(t, p.admits(p.now.add(time.Hour)), "one is under way")
		p.finish(p.now, probe, verdict{health: sick, started: p.now, pace: DefaultPace, about: p.voices[i%5 : i%5+1]})
	}
	require.InDelta(t, 2.2, gaps[0].Seconds(), 0.25)
	require.InDelta(t, 33, gaps[19].Seconds(), 3.1, "max_interval and a fifth of it at random")
	require.NotEqual(t, gaps[18], gaps[19])
}

func TestAReleasedBreakerLetsPassAsManyAsWereAnswered(t *testing.T) {
	p := newProbed(t, 5)
	p.dies()
	p.now = p.now.add(time.Minute)
	p.asks(0, time.Second, alive)
	require.Equal(t, releasing, p.state)
	for _, want := range []int{2, 4, 8, 16, 32} {
		n, started := 0, p.now
		for ; p.admits(p.now); n++ {
			require.False(t, p.begin(p.now))
		}
		require.Equal(t, want, n)
		p.now = p.now.add(time.Second)
		for range n {
			p.finish(p.now, false, verdict{health: alive, started: started})
		}
	}
	p.settle(false)
	require.Equal(t, releasing, p.state)
	p.settle(true)
	require.Equal(t, closed, p.state)
}

func TestAReleasedBreakerThatMeetsFailuresOpensAgain(t *testing.T) {
	p := newProbed(t, 5)
	p.dies()
	down, interval := p.down, p.interval
	p.now = p.now.add(time.Minute)
	p.asks(0, time.Millisecond, alive)
	for i := range openFailures {
		p.asks(i%openVoices, time.Millisecond, sick)
	}
	require.Equal(t, open, p.state)
	require.Equal(t, down, p.down, "it is the same outage")
	require.Greater(t, p.interval, interval, "and the probes go on where they were")
}

func TestFailuresOfBeforeTheReleaseSayNothing(t *testing.T) {
	p := newProbed(t, 5)
	for range 20 {
		p.begin(p.now)
	}
	hung := p.now
	p.dies()
	p.now = p.now.add(5 * time.Second)
	p.asks(0, time.Second, alive)
	for i := range 20 {
		p.finish(p.now, false, verdict{health: sick, started: hung, pace: DefaultPace, about: p.voices[i%5 : i%5+1]})
	}
	require.Equal(t, releasing, p.state)
}

func TestARetryAfterPutsOffTheNextProbeWhateverHappens(t *testing.T) {
	p := newProbed(t, 5)
	p.dies()
	p.now = p.now.add(time.Minute)
	p.asks(0, time.Second, sick, 4*time.Minute)
	p.hurry()
	require.False(t, p.admits(p.now.add(4*time.Minute-1)))
	require.True(t, p.admits(p.now.add(4*time.Minute)))
}

func TestAProbeThatShowedNothingIsRepeatedAndNotAtOnce(t *testing.T) {
	p := newProbed(t, 5)
	p.dies()
	p.now = p.now.add(time.Minute)
	p.asks(0, time.Millisecond, unclear)
	require.Equal(t, open, p.state)
	require.False(t, p.admits(p.now.add(time.Second)))
	require.True(t, p.admits(p.now.add(2*time.Second)))
}

func TestRetriesAreAPartOfTheAnswersAndComeBackWithThem(t *testing.T) {
	l := &lane{limit: rate.NewLimiter(100, 10), inFlight: 64, retries: budget{tokens: budgetTokens}}
	spend := func(now moment, h health) (n int) {
		for ; l.retries.allows(now, l); n++ {
			l.retries.begin()
			l.retries.finish(true, h)
			if n == 1000 {
				return n
			}
		}
		return n
	}
	require.Equal(t, 10, spend(0, sick))
	require.Zero(t, spend(0, sick))
	require.Equal(t, 10, spend(moment(time.Second), sick), "a tenth of the rate")
	for range 25 {
		l.retries.finish(false, alive)
	}
	require.Equal(t, 5, spend(moment(time.Second), sick), "a fifth of the answers")
	soon := l.retries.next(moment(time.Second), l)
	require.InDelta(t, 0.1, soon.sub(moment(time.Second)).Seconds(), 0.001)
	require.Equal(t, 1, spend(soon, sick))
	require.Equal(t, 1000, spend(soon.add(100*time.Millisecond), alive), "a backend that recovers is not held up")
}

func TestRetriesThatHangTakeAFifthOfThePlaces(t *testing.T) {
	l := &lane{limit: rate.NewLimiter(100, 10), inFlight: 20, retries: budget{tokens: budgetTokens}}
	n := 0
	for ; l.retries.allows(moment(n)*moment(time.Second), l); n++ {
		l.retries.begin()
	}
	require.Equal(t, 4, n)
	require.Equal(t, never, l.retries.next(moment(time.Hour), l))
}

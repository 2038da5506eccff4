package redisstore

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheClockIsThatOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		local := func() time.Time { return time.Now().Round(0) }
		looks := func(ahead, took time.Duration) time.Duration {
			asked := time.Now()
			<-time.After(took)
			return c.look(asked, time.Now(), asked.Add(took/2).Round(0).Add(ahead))
		}
		require.Equal(t, local(), c.now())
		require.Zero(t, looks(900*time.Millisecond, time.Millisecond), "clocks that are kept together differ by so much")
		require.Equal(t, local(), c.now())
		require.Equal(t, 5*time.Minute, looks(5*time.Minute, 20*time.Millisecond))
		require.Equal(t, local().Add(5*time.Minute), c.now())
		require.Zero(t, looks(5*time.Minute, 300*time.Millisecond), "it is set")
		require.Zero(t, looks(time.Hour, time.Second), "nobody knows when the server looked at its clock")
		<-time.After(time.Hour)
		require.Equal(t, local().Add(5*time.Minute), c.now(), "it goes on")
		require.Equal(t, -10*time.Minute, looks(-5*time.Minute, 0))
		require.Equal(t, local().Add(-5*time.Minute), c.now())
	})
}

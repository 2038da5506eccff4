package observe

import (
	"context"
	"errors"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// drainedMeanwhile has the process go away while a deadline is being set.
type drainedMeanwhile struct {
	*conn
	drain func()
}

func (d *drainedMeanwhile) Unwrap() http.ResponseWriter { return d.conn }

func (d *drainedMeanwhile) SetWriteDeadline(at time.Time) error {
	if d.drain != nil {
		d.drain()
		d.drain = nil
		synctest.Wait()
	}
	return d.conn.SetWriteDeadline(at)
}

func TestADrainThatBeginsAsADeadlineIsSetIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drained, drain := context.WithCancelCause(context.Background())
		c := newConn()
		c.stops(os.ErrDeadlineExceeded)
		out := newResponseWire(&drainedMeanwhile{c, func() { drain(errors.New("the process is going away")) }}, drained)
		begun := time.Now()
		_, err := out.Write([]byte("x"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.LessOrEqual(t, time.Since(begun), time.Second)
	})
}

//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

var (
	armed = Point(strings.Split(os.Getenv(Variable)+":", ":")[0])
	left  atomic.Int64 // hits until the process dies
)

func init() {
	if armed == "" {
		return
	}
	_, times, _ := strings.Cut(os.Getenv(Variable), ":")
	n, err := strconv.ParseInt(times, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%s is not <point>:<n>: %v", Variable, err))
	}
	left.Store(n)
}

// Hit kills the process, as kill -9 does, if this is the point and the time.
func Hit(p Point) {
	if p != armed || left.Add(-1) != 0 {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // until the signal comes
}

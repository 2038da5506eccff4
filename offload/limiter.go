package offload

import (
	"sync"
	"time"
)

// A client may have so many jobs adopted within a window.
const (
	maxAdopted  = 60
	adoptWindow = time.Minute
	maxLimited  = 10_000 // clients that are counted; when there are more, all begin anew
)

// A limiter counts by client within a window. The zero value is ready.
type limiter struct {
	mu     sync.Mutex
	begun  time.Time
	counts map[string]int
}

// take counts one more, or tells how long there can be none.
func (l *limiter) take(client string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.begun) >= adoptWindow || len(l.counts) >= maxLimited {
		l.begun, l.counts = now, make(map[string]int)
	}
	if l.counts[client] >= maxAdopted {
		return l.begun.Add(adoptWindow).Sub(now)
	}
	l.counts[client]++
	return 0
}

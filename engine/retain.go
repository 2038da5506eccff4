package engine

import "time"

// purgeEvery is the pause between two looks for ended intents that have expired;
// purgeBatch bounds how long one look keeps other writers waiting.
const (
	purgeEvery = 30 * time.Second
	purgeBatch = 200
)

// retain removes ended intents when their retention is over, and writes what could not
// be written before. Start starts it, Stop ends it.
func (e *Engine) retain() {
	for e.sleep(purgeEvery) {
		e.payDebts()
		for {
			n, err := e.store.Purge(e.ctx, time.Now(), purgeBatch)
			if err != nil && e.ctx.Err() == nil {
				e.log().Error("removing expired intents", "err", err)
			}
			if err != nil || n < purgeBatch {
				break
			}
		}
	}
}

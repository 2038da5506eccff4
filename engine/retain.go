package engine

import "time"

// purgeEvery is the pause between two looks for ended intents that have expired;
// purgeBatch bounds how long one look keeps other writers waiting. What is due is tried
// more often: what a kill comes before is found by the next start as it stands.
const (
	purgeEvery = 30 * time.Second
	purgeBatch = 200
	payEvery   = storeRetry
)

// retain removes ended intents when their retention is over, and writes what could not
// be written before. Start starts it, Stop ends it.
func (e *Engine) retain() {
	for purged := time.Now(); e.sleep(payEvery); {
		e.payDebts()
		if time.Since(purged) >= purgeEvery {
			e.purge()
			purged = time.Now()
		}
	}
}

func (e *Engine) purge() {
	for {
		n, err := e.store.Purge(e.ctx, e.store.Now(), purgeBatch)
		if err != nil && e.ctx.Err() == nil {
			e.log().Error("removing expired intents", "err", err)
		}
		if err != nil || n < purgeBatch {
			return
		}
	}
}

package engine

import "time"

// A budget bounds the retries on a lane: polls that follow one which failed. Where a
// backend fails for some jobs and not for others, those that fail would else take the
// places, with their timeouts, and the rate of those that do not.
//
// A retry takes a token and gives it back if it is answered. Tokens come from answers,
// a fifth of one each, and from time; retries have a fifth of the places, and one more
// for each that is answered, so that a backend that recovers is not held up. These are
// the bounds of Finagle, Linkerd (retryRatio 0.2, minRetriesPerSecond 10) and Envoy
// (budget_percent 20).
type budget struct {
	tokens float64
	at     moment // when tokens was right
	under  int    // retries under way
	proven int    // retries answered since the last that failed
}

const (
	budgetShare  = 5    // one token for so many answers; one place of so many
	budgetTokens = 10.0 // are saved at most
	budgetOfRate = 0.1  // of the lane's rate is there for retries in any case
	budgetLeast  = 0.1  // tokens a second, however low the rate is
)

// allows reports whether a retry may go now.
func (b *budget) allows(now moment, l *lane) bool { return b.hasPlace(l) && b.available(now, l) >= 1 }

func (b *budget) hasPlace(l *lane) bool { return b.under < max(1, l.inFlight/budgetShare)+b.proven }

// available brings the tokens up to date.
func (b *budget) available(now moment, l *lane) float64 {
	b.add(perSecond(l) * now.sub(b.at).Seconds())
	b.at = now
	return b.tokens
}

// perSecond is how many tokens come with time.
func perSecond(l *lane) float64 {
	all := float64(l.limit.Limit())
	return min(all, max(all*budgetOfRate, budgetLeast))
}

// next is the moment from which a retry that may not go now has its token; never if
// it has to wait for the end of another.
func (b *budget) next(now moment, l *lane) moment {
	if !b.hasPlace(l) {
		return never
	}
	lacking := max(0, 1-b.available(now, l))
	// A nanosecond more, or rounding leaves it short of one for ever.
	return now.add(time.Duration(lacking/perSecond(l)*float64(time.Second)) + 1)
}

func (b *budget) begin() {
	b.tokens--
	b.under++
}

// finish notes the end of a poll.
func (b *budget) finish(retry bool, h health) {
	if h == alive {
		b.add(1.0 / budgetShare)
	}
	if !retry {
		return
	}
	if h != sick {
		b.add(1)
		b.proven++
	}
	if b.under--; h == sick || b.under == 0 { // what was proven long ago counts no more
		b.proven = 0
	}
}

func (b *budget) add(tokens float64) { b.tokens = min(b.tokens+tokens, budgetTokens) }

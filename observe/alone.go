package observe

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// An Alone is a store that no other process shares. Where several are behind one
// balancer all the same, each with a store of its own, clients ask one for intents that
// another has. An EventSource that is told so by a 404 gives up for good, and so loses an
// intent that is well; it is told to come again, until it comes to the right one.
//
// Nothing in an id says whose it is. What can be known is which ids are nobody's: those
// that say no time, or one at which the intent would be here or nowhere.
type Alone struct {
	Since time.Time     // when the store was begun: what is older was in another one, which is gone
	Kept  time.Duration // what is younger than that is kept everywhere

	noted atomic.Int64 // when the log was last told, in Unix nanoseconds
}

// noteEvery bounds how often the log is told: anybody can make up an id.
const noteEvery = time.Hour

// clockSkew is by how much the clock of another machine may be ahead.
const clockSkew = 5 * time.Minute

// mayBeElsewhere reports whether an intent that is not here may be where somebody else
// keeps it.
func (a *Alone) mayBeElsewhere(id intent.ID, now time.Time) bool {
	made := time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0)
	return id[6]>>4 == 8 && id[8]>>6 == 0b10 && // as ours are
		made.Add(time.Second).After(a.Since) && now.Sub(made) < a.Kept && made.Sub(now) < clockSkew
}

// note tells the log, now and then.
func (a *Alone) note(ctx context.Context, log *slog.Logger, attrs ...any) {
	now, last := time.Now().UnixNano(), a.noted.Load()
	if last != 0 && now-last < int64(noteEvery) || !a.noted.CompareAndSwap(last, now) {
		return
	}
	log.WarnContext(ctx, "a stream is asked for of an intent that was never in this store; if several Caddys serve one site they need one store",
		append(attrs, "add", "store redis <url> and the same secret, on each")...)
}

// comeAgain is the answer to who may be with the wrong process: not an error for people,
// but a stream that begins, and is cut.
type comeAgain struct{}

func (comeAgain) Error() string { return "this intent may be elsewhere" }

// orElsewhere is the answer to who cannot have a stream because of err. Whether an intent
// is not here or somebody else's makes no difference. Where intents have owners it takes a
// token for the intent: to who only guesses an id it is a 404.
func (s *Server) orElsewhere(r *http.Request, text, token string, err error) error {
	if s.Alone == nil || !isEventSource(r) {
		return err
	}
	now := time.Now()
	switch problemOf(err).Status {
	case http.StatusNotFound:
		id, bad := intent.ParseID(text)
		if _, granted := s.granted(token, id, now); bad != nil || !granted || !s.Alone.mayBeElsewhere(id, now) {
			return err
		}
		s.Alone.note(r.Context(), s.Logger, "intent", id)
	case http.StatusUnauthorized: // by another's secret it may be good
		if expires, ok := s.Tokens.Says(token); !ok || !now.Before(expires) || expires.Sub(now) > TokenLife+clockSkew {
			return err
		}
		s.Alone.note(r.Context(), s.Logger, "err", "the observe token was made with another secret")
	default:
		return err
	}
	return comeAgain{}
}

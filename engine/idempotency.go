package engine

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// How long a request waits for the first one with its key, and how often it looks.
// The store tells nobody when a reservation is dropped.
const (
	keyWait = 30 * time.Second
	keyLook = 50 * time.Millisecond
)

// maxReplay bounds the body that is kept to answer repeats, and its head, in bytes.
const maxReplay = 64 << 10

// claimKey makes this request the first one with its key, or answers it as the
// first one was. A store that cannot be asked lets the request through without the
// key's protection, unless something has to be written ahead anyway.
func (x *exchange) claimKey(r *http.Request) (answered bool, err error) {
	for begun := time.Now(); ; {
		in, replay, err := x.first(r.Context())
		switch {
		case errors.Is(err, store.ErrNotFound): // dropped meanwhile: it is free
			continue
		case err != nil:
			return false, x.withoutKey(err)
		case in == nil:
			return false, nil
		case x.owed(r.Context(), in.ID): // it is not settled yet, and is now
			continue
		case !in.Reserved():
			return true, x.replay(r, in, replay)
		case time.Since(begun) >= keyWait:
			return false, ErrKeyInProgress
		}
		select {
		case <-time.After(keyLook):
		case <-r.Context().Done():
			return false, context.Cause(r.Context())
		}
	}
}

// owed writes what is still due about the first request with this key, and reports
// whether something was.
func (x *exchange) owed(ctx context.Context, id intent.ID) bool {
	if !x.engine.owes(id) {
		return false // without waiting for whoever pays just now
	}
	some, err := x.engine.payDebtsOf(ctx, id)
	return some && err == nil
}

// first returns the intent of the first request with this key, or nil if that is this
// one: then it is reserved.
func (x *exchange) first(ctx context.Context) (*intent.Intent, store.Replay, error) {
	if x.submission.Former != "" {
		if in, replay, err := x.engine.store.ByKey(ctx, x.submission.Former); err == nil {
			return &in, replay, nil
		}
	}
	if err := x.reserve(); !errors.Is(err, store.ErrExists) {
		return nil, store.Replay{}, err
	}
	in, replay, err := x.engine.store.ByKey(ctx, x.submission.Key)
	return &in, replay, err
}

// withoutKey lets a request through whose key cannot be kept.
func (x *exchange) withoutKey(err error) error {
	if x.presents() || x.submission.Stream != nil {
		return err
	}
	x.submission.Key = ""
	x.Header().Set("Intent-Status", "unavailable")
	return nil
}

// replay answers a request as the first one with its key was answered.
func (x *exchange) replay(r *http.Request, in *intent.Intent, first store.Replay) error {
	if first.Hash == nil {
		return ErrKeyUncertain
	}
	c := newCapture(r.Body, 0, r.URL.RawQuery)
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(c.hash(), first.Hash) != 1 {
		return ErrKeyReused
	}
	x.known(in.ID)
	if x.submission.Stream != nil {
		x.submission.Stream(x.w, in)
		return nil
	}
	h := x.Header()
	h.Set("Idempotency-Replayed", "true")
	if first.Code == 0 { // the answer was too long to be kept, or had a token in it
		x.introduce(in)
		x.submission.Present(x.w, in)
		return nil
	}
	maps.Copy(h, first.Header)
	x.decorate()
	body := first.Body
	if first.Merge {
		if merged, ok := merge(body, in.ID.String(), x.observeURL(in.ID, x.submission.Base+"/"+in.ID.String())); ok {
			body = merged
			h.Set("Content-Length", strconv.Itoa(len(body)))
		}
	}
	x.hold(in, func() {
		x.w.WriteHeader(first.Code)
		_, _ = x.w.Write(body) // the client may have left
	})
	return nil
}

// remember makes of a reply what answers repeats of this request.
func (x *exchange) remember(r reply) *store.Replay {
	if x.submission.Key == "" {
		return nil
	}
	x.capture.drain()
	kept := &store.Replay{Hash: x.capture.hash()}
	if x.submission.Owner != "" && x.presents() {
		return kept // it has an observe token in it: repeats get a fresh one
	}
	if r.whole && len(r.body) <= maxReplay && HeadSize(r.header) <= maxReplay {
		kept.Code, kept.Header, kept.Body, kept.Merge = r.code, replayHeader(r.header, x.before), r.body, r.merged
	}
	if kept.Merge {
		kept.Body = x.held // the URL in the merged one can have a token, which is nothing to be kept
	}
	return kept
}

// replayHeader is what of a head belongs to the answer: not what the handlers
// around us set for every answer, nor what is about the connection or one moment.
// What of theirs the answer took away, as a proxy does with Server, is kept as nil.
func replayHeader(h, before http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if !slices.Equal(values, before[name]) {
			kept[name] = values
		}
	}
	for name := range before {
		if _, there := h[name]; !there {
			kept[name] = nil
		}
	}
	for _, name := range []string{"Connection", "Date", "Keep-Alive", "Preference-Applied", "Set-Cookie", "Trailer", "Transfer-Encoding"} {
		delete(kept, name)
	}
	return kept
}

// endUncertain ends a keyed request whose answer did not come although the backend
// may have the request. The key stays: a repeat must not make a second job.
func (x *exchange) endUncertain() {
	ctx, cancel := x.storing()
	defer cancel()
	x.engine.endUncertain(ctx, x.reservation)
	x.reservation = nil
}

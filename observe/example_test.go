package observe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// An intent is observed while somebody else, here the example itself, stores what
// happens to it.
func Example() {
	ctx := context.Background()
	intents := memstore.New()
	hub := observe.NewHub(intents, slog.New(slog.DiscardHandler))
	defer hub.Close()
	server := httptest.NewServer(observe.New(observe.Config{Scope: "default", Store: intents, Hub: hub}))
	defer server.Close()

	now := time.Now()
	in, begun := intent.Intent{ID: intent.NewID(now, 0), Origin: intent.Origin{
		Scope: "default", Job: "report", Created: now, Deadline: now.Add(time.Hour),
	}}.Begin(now)
	held, err := intents.Create(ctx, in, begun)
	if err != nil {
		fmt.Println(err)
		return
	}

	resp, err := http.Get(server.URL + "/v1/intents/" + in.ID.String() + "/events/stream")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	events := sse.NewReader(resp.Body)
	show := func() error {
		f, err := events.Next()
		if err == nil {
			fmt.Println(f.ID, f.Event)
		}
		return err
	}
	_, _ = show(), show() // from here on what happens is seen as it happens

	running, delivered := in.Deliver(intent.Delivery{JobID: "job-1"}, now)
	done, over := running.Apply(intent.Reading{Status: intent.Completed}, now)
	err = intents.Append(ctx, store.Change{Intent: done, Epoch: held.Epoch, After: in.Seq, Events: append(delivered, over...)})
	if err != nil {
		fmt.Println(err)
	}
	for err = nil; err == nil; {
		err = show()
	}
	fmt.Println("complete:", errors.Is(err, io.EOF))
	// Output:
	// 1 intent.created
	// 2 intent.submitted
	// 3 intent.delivered
	// 4 intent.in_progress
	// 5 intent.completed
	// complete: true
}

package engine

import (
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// What an intent and an event take in memory besides their texts, in bytes: about half
// more than the structs.
const (
	intentCost = 1000
	eventCost  = 400
)

// weigh is about how much memory changes take.
func weigh(changes []store.Change) int {
	n := 0
	for i := range changes {
		n += weighIntent(&changes[i].Intent)
		for _, event := range changes[i].Events {
			d := &event.Details
			n += eventCost + len(d.JobID) + len(d.Message) + len(d.UnknownState) + len(d.Result) + len(d.ResultURL) + weighError(d.Error)
		}
	}
	return n
}

func weighIntent(in *intent.Intent) int {
	n := intentCost + weighError(in.Error)
	for _, text := range []string{
		in.Scope, in.Job, in.Host, in.Scheme, in.Client, in.Prefix, in.Owner, in.Key, in.Hook, in.JobID, in.StatusURL,
		in.Message, in.UnknownState, in.ResultURL, in.Sealed, in.Memory,
	} {
		n += len(text)
	}
	n += len(in.Request) + len(in.Result)
	for name, value := range in.Params {
		n += lineCost + len(name) + len(value)
	}
	return n
}

func weighError(e *intent.Error) int {
	if e == nil {
		return 0
	}
	return len(e.Code) + len(e.Message)
}

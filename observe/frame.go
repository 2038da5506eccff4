package observe

import (
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

// MaxFrame bounds the frame of an event, in bytes. There are clients that give up
// on a stream at 64 KiB.
const MaxFrame = 32 << 10

// TypeReset announces, in a stream only, that the client's cursor is of no use
// here. The event is a snapshot of the intent under the id of its last stored
// event, from which the client goes on.
const TypeReset intent.EventType = "intent.reset"

// typeTimeout ends a stream whose client set a limit.
const typeTimeout = "stream.timeout"

// snapshot makes the event that a reset sends.
func snapshot(in *intent.Intent) intent.Event {
	return intent.Event{
		IntentID: in.ID, Seq: in.Seq, Type: TypeReset, Status: in.Status, At: in.Updated,
		Details: intent.Details{
			JobID: in.JobID, Progress: in.Progress, Message: in.Message, UnknownState: in.UnknownState,
			Result: in.Result, ResultURL: in.ResultURL, Error: in.Error, Waiting: in.Waiting,
		},
	}
}

// A label is what a frame has beside its event.
type label struct {
	id      string
	unnamed bool   // the frame names no event: it is for clients that hear "message" only
	url     string // of the intent, for the client
}

// appendFrame appends a frame of ours.
func (l label) appendFrame(dst []byte, name string, data []byte) []byte {
	if l.unnamed {
		name = ""
	}
	return sse.AppendFrame(dst, l.id, name, data)
}

// appendEvent appends the frame of an event. Package intent bounds what an event
// carries, but escaping can make six bytes of one; what then gives way is to be had
// from the intent's own URL.
func appendEvent(dst []byte, f fact, l label) []byte {
	start := len(dst)
	if f.data != nil {
		dst = l.appendFrame(dst, string(f.kind), f.data)
		if len(dst)-start <= MaxFrame || f.event == nil {
			return dst
		}
	}
	e := *f.event
	for _, lighten := range givesWay {
		lighten(&e.Details, l.url)
		data, err := e.AppendJSON(nil)
		if err != nil {
			continue
		}
		dst = l.appendFrame(dst[:start], string(e.Type), data)
		if len(dst)-start <= MaxFrame {
			break
		}
	}
	return dst
}

// givesWay is what an event loses until its frame is small enough, in this order.
// The first also answers a result that is no JSON (a damaged store); the last
// leaves nothing of which the size is not known.
var givesWay = []func(d *intent.Details, url string){
	func(d *intent.Details, url string) {
		if d.Result != nil {
			d.Result, d.ResultURL = nil, url
		}
	},
	func(d *intent.Details, _ string) { d.UnknownState = "" },
	func(d *intent.Details, _ string) { d.Message = "" },
	func(d *intent.Details, url string) {
		var slim intent.Details
		if d.ResultURL != "" {
			slim.ResultURL = url
		}
		if d.Error != nil {
			slim.Error = &intent.Error{Code: d.Error.Code, Category: d.Error.Category, Retryable: d.Error.Retryable}
		}
		*d = slim
	},
}

// appendEnd appends the frame of the event that ends a stream for good. An
// EventSource comes back even so; that it does so in a day is for those which do not
// understand the 204 that it would get.
func appendEnd(dst []byte, f fact, l label) []byte {
	return appendEvent(sse.AppendRetry(dst, 24*time.Hour), f, l)
}

// appendTimeout appends the frame that ends a stream whose client set a limit.
// Without an id the client's cursor stays where it is.
func appendTimeout(dst []byte, data string, l label) []byte {
	l.id = ""
	return l.appendFrame(dst, typeTimeout, []byte(data))
}

package engine

import "github.com/caddy-intents/caddy-intents/intent"

// The body of a submit is kept encrypted, as its head is: to be delivered, or because an
// expression of the job reads it. Stores hold bodies of before that as they came.

// bodyField names what is sealed.
const bodyField = "request body"

// sealBody makes a body the one that is kept of an intent.
func (e *Engine) sealBody(in *intent.Intent, body []byte) {
	in.Captured, in.Request = true, body
	if sealer := e.settings.Load().Sealer; in.Closed && sealer != nil {
		in.Request = sealer.Seal(in.ID, bodyField, body)
	}
}

// OpenBody returns the body of an intent's submit as it came. It fails if the secret is
// another one by now.
func (e *Engine) OpenBody(in *intent.Intent) ([]byte, error) {
	if !in.Closed {
		return in.Request, nil
	}
	sealer := e.settings.Load().Sealer
	if sealer == nil {
		return nil, errNoSealer
	}
	return sealer.Open(in.ID, bodyField, in.Request)
}

// opened is an intent as the expressions of its job may read it. A body that cannot be
// opened any more, because the secret is another one, is absent to them.
func (e *Engine) opened(job *Job, in *intent.Intent) *intent.Intent {
	if !in.Closed || !in.Captured || !job.Adapter.ReadsRequest() {
		return in
	}
	open := *in
	body, err := e.OpenBody(in)
	if err != nil {
		if e.told.first("body", in.Scope, in.Job) {
			e.log().Warn("what was kept of a request cannot be opened with this secret; expressions do not find it", "intent", in.ID, "job", in.Job, "err", err)
		}
		open.Captured = false
	}
	open.Request, open.Closed = body, false
	return &open
}

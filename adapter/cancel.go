package adapter

import (
	"net/http"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A CancelOutcome is what the backend said to a cancel.
type CancelOutcome uint8

const (
	CancelAccepted    CancelOutcome = iota + 1 // it will cancel, or has
	CancelOver                                 // there is nothing to cancel (any more); the next poll tells why
	CancelRefused                              // it will not
	CancelUnavailable                          // it could not answer
)

func (o CancelOutcome) String() string {
	return [...]string{"", "accepted", "over", "refused", "unavailable"}[o]
}

// CancelRequest is the request that cancels the intent's job. It answers false if
// the job API has none.
func (j *Job) CancelRequest(in *intent.Intent) (Request, bool, error) {
	if j.cancel == nil {
		return Request{}, false, nil
	}
	r, err := j.cancel.request("cancel", in, in.StatusURL)
	return r, err == nil, err
}

// ReadCancel reads the answer to a cancel. That a job is over is said with 404 or
// 410 by APIs that forget it, with 400, 405 or 409 by those that do not.
func (j *Job) ReadCancel(a Answer) CancelOutcome {
	switch {
	case a.Code >= 200 && a.Code < 300, a.Code == http.StatusSeeOther:
		return CancelAccepted
	case a.Code == http.StatusTooManyRequests, a.Code >= 500 && a.Code != http.StatusNotImplemented:
		return CancelUnavailable
	}
	switch a.Code {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusGone:
		return CancelOver
	}
	return CancelRefused
}

package adapter

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// A DeliveryOutcome is what became of a submit that no client waits for.
type DeliveryOutcome uint8

const (
	Delivered   DeliveryOutcome = iota + 1 // the answer names a job
	Postponed                              // the backend has not done it, and may later
	Undelivered                            // it will not do it, or has done what nobody can follow
	Uncertain                              // it may have done it or not
)

func (o DeliveryOutcome) String() string {
	return [...]string{"", "delivered", "postponed", "undelivered", "uncertain"}[o]
}

// A DeliveryReading is what the answer to such a submit said.
type DeliveryReading struct {
	Outcome    DeliveryOutcome
	Submit     SubmitReading // if Delivered
	Refused    bool          // if Undelivered: the backend said no, and Reason has its words
	Reason     string        // if not Delivered; for the intent's owner, not for a log
	RetryAfter time.Duration // 0 if not told; else within MinRetryAfter and MaxRetryAfter
}

// ReadDelivery reads the answer to a submit that we can send again. A server that is
// too busy or asks for another time has not acted (RFC 9110, sections 15.5.9 and
// 15.6.4; RFC 6585, section 4; RFC 8470, section 5.2). What any other failure of a
// server has left behind cannot be known.
func (j *Job) ReadDelivery(s Submitted, a Answer) DeliveryReading {
	reading, err := j.ReadSubmit(s, a)
	if err == nil {
		return DeliveryReading{Outcome: Delivered, Submit: reading, RetryAfter: reading.RetryAfter}
	}
	d := DeliveryReading{RetryAfter: a.retryAfter()}
	none, _ := errors.AsType[*NoJobError](err) // there are no others
	switch {
	case a.Code == http.StatusRequestTimeout, a.Code == http.StatusTooEarly, a.Code == http.StatusTooManyRequests, a.Code == http.StatusServiceUnavailable:
		d.Outcome, d.Reason = Postponed, fmt.Sprintf("the backend answered %d", a.Code)
	case a.Code >= 500 && a.Code != http.StatusNotImplemented:
		d.Outcome, d.Reason = Uncertain, fmt.Sprintf("the backend answered %d", a.Code)
	case a.Code >= 300, none.Denied:
		d.Outcome, d.Refused, d.Reason = Undelivered, true, wordsOf(a)
	case a.Cut: // what is missing may be the job's name
		d.Outcome, d.Reason = Uncertain, "the backend's answer broke off"
	default:
		d.Outcome, d.Reason = Undelivered, none.Error()
	}
	return d
}

// maxWords bounds how much of an answer is quoted, in bytes.
const maxWords = 1 << 10

// wordsOf quotes an answer: its code, and the beginning of its body if it is text.
func wordsOf(a Answer) string {
	said := fmt.Sprintf("the backend answered %d", a.Code)
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	text := bytes.TrimSpace(a.Body[:min(len(a.Body), maxWords)])
	for len(a.Body) > maxWords && len(text) > 0 && !utf8.Valid(text) && len(text) > maxWords-utf8.UTFMax {
		text = text[:len(text)-1] // the last letter was cut
	}
	textual := media == "" || strings.HasPrefix(media, "text/") && media != "text/html" || strings.HasSuffix(media, "json") || strings.HasSuffix(media, "xml")
	if len(text) == 0 || !textual || !utf8.Valid(text) || a.Header.Get("Content-Encoding") != "" {
		return said
	}
	return said + ": " + string(text)
}

package intent_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestALifeFromTheRequestToTheEnd(t *testing.T) {
	l := running(t, day)
	l.after(time.Second).reads(progress(40))
	l.after(time.Second).reads(intent.Reading{Status: intent.Completed, Progress: new(100.0), Result: json.RawMessage(`{"rows":7}`)})

	l.wantTypes("created", "submitted", "delivered", "in_progress", "in_progress", "completed")
	l.wantLawful()
	require.Equal(t, 1, l.events[1].Details.Attempt)
	require.Equal(t, "4711", l.events[2].Details.JobID)
	require.Equal(t, 40.0, *l.events[4].Details.Progress)
	require.Equal(t, "4711", l.last().Details.JobID)
	require.JSONEq(t, `{"rows":7}`, string(l.last().Details.Result))
	require.Equal(t, 100.0, *l.last().Details.Progress)
	require.Nil(t, l.last().Details.Error)
	require.Equal(t, start.Add(2*time.Second), l.in.Updated)
}

func TestAJobDoneAtItsFirstPollWasSeenRunning(t *testing.T) {
	l := submitted(t, day)
	l.happens(l.in.Deliver(intent.Delivery{JobID: "4711"}, l.now))
	l.reads(intent.Reading{Status: intent.Completed, Message: "all done"})
	l.wantTypes("created", "submitted", "delivered", "in_progress", "completed")
	l.wantLawful()
	require.Equal(t, "all done", l.events[3].Details.Message)
}

func TestNothingIsReadBeforeDeliveryAndAfterTheEnd(t *testing.T) {
	for _, s := range intent.Statuses() {
		if s == intent.Delivered || s == intent.InProgress {
			continue
		}
		l := at(t, s)
		before := l.in
		require.Empty(t, l.reads(intent.Reading{Status: intent.Completed, Progress: new(99.0), Message: "late"}), s)
		require.Equal(t, before, l.in, s)
	}
}

func TestAReadingThatSaysNothingNewMakesNoEvent(t *testing.T) {
	l := running(t, day)
	first := intent.Reading{Status: intent.InProgress, Progress: new(10.0), Message: "copying", UnknownState: "warming"}
	require.Len(t, l.after(time.Minute).reads(first), 1)
	for range 10 {
		again := first
		again.Progress = new(10.0)
		require.Empty(t, l.after(time.Minute).reads(again))
	}
}

func TestWhatAReadingDoesNotTellIsKeptExceptAnUnknownWord(t *testing.T) {
	l := running(t, day)
	l.after(time.Minute).reads(intent.Reading{Status: intent.InProgress, Progress: new(10.0), Message: "copying", UnknownState: "warming"})
	events := l.after(time.Minute).reads(intent.Reading{Status: intent.InProgress})
	require.Len(t, events, 1, "the unknown word is gone, which is news")
	require.Equal(t, 10.0, *events[0].Details.Progress)
	require.Equal(t, "copying", events[0].Details.Message)
	require.Empty(t, events[0].Details.UnknownState)
}

func TestProgressNeverFalls(t *testing.T) {
	l := running(t, day)
	require.Len(t, l.after(time.Minute).reads(progress(60)), 1)
	require.Empty(t, l.after(time.Minute).reads(progress(20)), "a fall is no news")
	require.Len(t, l.after(time.Minute).reads(progress(61)), 1)
	l.after(time.Minute).reads(intent.Reading{Status: intent.Completed, Progress: new(0.0)})
	require.Equal(t, 61.0, *l.last().Details.Progress)
	l.wantLawful()
}

func TestAnEndThatIsNotCompletedHasAnErrorAndNoResult(t *testing.T) {
	for _, s := range []intent.Status{intent.Failed, intent.Canceled, intent.TimedOut} {
		l := running(t, day)
		l.reads(intent.Reading{Status: s, Result: json.RawMessage(`1`), ResultURL: "/x"})
		d := l.last().Details
		require.Nil(t, d.Result, s)
		require.Empty(t, d.ResultURL, s)
		require.Equal(t, strings.ToLower(string(s)), d.Error.Code)
		require.Equal(t, intent.ByBackend, d.Error.Category)
	}
	l := running(t, day)
	l.reads(intent.Reading{Status: intent.Completed, Error: &intent.Error{Code: "odd"}})
	require.Nil(t, l.last().Details.Error, "what completed has no error")
}

func TestAnEndOfOurOwnMakingSaysWhy(t *testing.T) {
	why := &intent.Error{Code: intent.CodeDeadline, Message: "24 h are over", Category: intent.ByDeadline}
	for _, s := range []intent.Status{intent.Submitted, intent.Delivered, intent.InProgress} {
		l := at(t, s)
		l.ends(intent.TimedOut, why)
		require.Equal(t, intent.TypeTimedOut, l.last().Type)
		require.Equal(t, why, l.last().Details.Error)
		require.Empty(t, l.ends(intent.Failed, why), "an intent ends once")
		l.wantLawful()
	}
}

func TestAnEndSaysWhatTheBackendAnsweredToACancel(t *testing.T) {
	l := running(t, day)
	l.happens(l.in.End(intent.Canceled, intent.Details{Backend: "accepted"}, l.now))
	require.Equal(t, "accepted", l.last().Details.Backend)
	l.wantLawful()
}

func TestTheCallersErrorIsNotWrittenTo(t *testing.T) {
	why := &intent.Error{Code: "x", Message: strings.Repeat("m", 10_000)}
	running(t, day).ends(intent.Failed, why)
	require.Len(t, why.Message, 10_000)
}

func TestWaitingIsToldOnceAndDoneAwayWithByAReading(t *testing.T) {
	l := running(t, day)
	require.Len(t, l.after(time.Minute).waits("backend"), 1)
	require.Equal(t, "backend", l.last().Details.Waiting)
	require.Empty(t, l.after(time.Minute).waits("backend"))
	require.Len(t, l.after(time.Minute).reads(intent.Reading{Status: intent.InProgress}), 1)
	require.Empty(t, l.last().Details.Waiting)
}

// A backend that dies right after it reported: the pause holds the news back, and
// no reading comes that could carry it.
func TestWaitingThatHadNoPlaceIsToldByTheNextWait(t *testing.T) {
	l := running(t, day)
	l.after(time.Second).reads(progress(10))
	require.Empty(t, l.after(time.Millisecond).waits("backend"))
	require.Len(t, l.after(time.Minute).waits("backend"), 1)
	require.Equal(t, "backend", l.last().Details.Waiting)
}

func TestNothingWaitsBeforeTheFirstReading(t *testing.T) {
	require.Empty(t, at(t, intent.Delivered).waits("backend"))
}

func TestATryThatMissedIsToldWithTheNextOne(t *testing.T) {
	l := submitted(t, day)
	l.in.Attempts = 1
	events := l.happens(l.in.Miss(intent.Error{Code: intent.CodeUndelivered, Message: "503"}, l.now.Add(time.Minute), l.now))
	require.Len(t, events, 1)
	require.Equal(t, intent.TypeDeliveryFailed, events[0].Type)
	require.Equal(t, intent.Submitted, events[0].Status)
	require.Equal(t, 1, events[0].Details.Attempt)
	require.Equal(t, l.now.Add(time.Minute), *events[0].Details.RetryAt)
	require.Equal(t, "503", events[0].Details.Error.Message)
	require.Equal(t, "backend", l.in.Waiting)
	require.Empty(t, l.happens(l.in.Miss(intent.Error{}, l.now, l.now)), "one a second at most")
	l.happens(l.in.Deliver(intent.Delivery{JobID: "1"}, l.now))
	require.Empty(t, l.in.Waiting)
	require.Empty(t, l.happens(l.in.Miss(intent.Error{}, l.now, l.now)), "it was delivered")
	l.wantLawful()
}

func TestMessageIsCutAtACharacter(t *testing.T) {
	for _, character := range []string{"a", "é", "…", "🙂"} {
		l := running(t, day)
		l.after(time.Minute).reads(saying("x" + strings.Repeat(character, intent.MaxMessage)))
		got := l.last().Details.Message
		require.LessOrEqual(t, len(got), intent.MaxMessage)
		require.Greater(t, len(got), intent.MaxMessage-2*utf8.UTFMax, "no more is cut than must be")
		require.True(t, utf8.ValidString(got))
		require.True(t, strings.HasSuffix(got, "…"))
	}
	l := running(t, day)
	whole := strings.Repeat("m", intent.MaxMessage)
	l.after(time.Minute).reads(saying(whole))
	require.Equal(t, whole, l.last().Details.Message, "what just fits is left alone")
}

func TestErrorIsAtMostTwoKiB(t *testing.T) {
	long := strings.Repeat("é", 100_000)
	l := running(t, day)
	l.reads(intent.Reading{Status: intent.Failed, Error: &intent.Error{Code: long, Message: long, Category: intent.ByBackend}})
	encoded, err := json.Marshal(l.last().Details.Error)
	require.NoError(t, err)
	require.LessOrEqual(t, len(encoded), intent.MaxError)
	require.True(t, utf8.ValidString(l.last().Details.Error.Message))
}

func TestALargeResultBecomesAURL(t *testing.T) {
	fits := json.RawMessage(`"` + strings.Repeat("r", intent.MaxResult-2) + `"`)
	large := json.RawMessage(`"` + strings.Repeat("r", intent.MaxResult-1) + `"`)
	cases := map[string]struct {
		statusURL string
		result    json.RawMessage
		inline    bool
		url       string
	}{
		"just fits":                       {"/status/1", fits, true, ""},
		"too large":                       {"/status/1", large, false, "/api/status/1"},
		"too large, the URL holds a key":  {"/status/1?key=s3cret", large, false, ""},
		"too large, nowhere to point at":  {"", large, false, ""},
		"small, the URL holds a key":      {"/status/1?key=s3cret", json.RawMessage(`1`), true, ""},
		"too large once it is made legal": {"/status/1", json.RawMessage(`"` + strings.Repeat("\u2028", intent.MaxResult/4) + `"`), false, "/api/status/1"},
	}
	for name, c := range cases {
		l := submitted(t, day)
		l.in.Prefix = "/api"
		l.happens(l.in.Deliver(intent.Delivery{JobID: "1", StatusURL: c.statusURL}, l.now))
		l.reads(intent.Reading{Status: intent.Completed, Result: c.result})
		require.Equal(t, intent.Completed, l.in.Status, name)
		require.Equal(t, c.inline, l.last().Details.Result != nil, name)
		require.Equal(t, c.url, l.last().Details.ResultURL, name)
		l.wantLawful()
	}
}

func TestAResultURLIsToldWholeOrNotAtAll(t *testing.T) {
	l := running(t, day)
	whole := "/files/1?signature=" + strings.Repeat("a", 1000)
	l.reads(intent.Reading{Status: intent.Completed, ResultURL: whole})
	require.Equal(t, whole, l.last().Details.ResultURL)

	l = running(t, day)
	l.reads(intent.Reading{Status: intent.Completed, ResultURL: "/" + strings.Repeat("a", 1<<20)})
	require.Equal(t, "/reports/status/4711", l.last().Details.ResultURL, "then where the backend tells it")
}

// The hostile part is what JSON makes longer: a control character takes six bytes.
func TestTheLargestEventFitsAFrame(t *testing.T) {
	for _, nasty := range []string{"x", "\x00", "\n", `"`, "\u2028", "\u0085", "\xff", "🙂"} {
		text := strings.Repeat(nasty, 100_000)
		result, err := json.Marshal(strings.Repeat("r", intent.MaxResult-2))
		require.NoError(t, err)
		l := running(t, day)
		l.after(time.Minute).reads(intent.Reading{Status: intent.InProgress, Message: text, UnknownState: text})
		l.after(time.Minute).reads(intent.Reading{Status: intent.Completed, Result: result, Message: text, UnknownState: text})
		l.wantLawful()
		require.NotEmpty(t, l.last().Details.Result)

		l = running(t, day)
		l.reads(intent.Reading{Status: intent.Failed, Error: &intent.Error{Code: text, Message: text}, Message: text, UnknownState: text})
		l.wantLawful()
	}
}

// FuzzApply plays any script of readings, waits, deliveries and ends: whatever
// comes, the log stays lawful and within its budget.
func FuzzApply(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 1, 10, 1, 1, 20, 2, 5, 0}, "copying")
	f.Add([]byte{1, 0, 0, 6, 0, 0, 1, 255, 99, 5, 1, 1, 7, 1, 2}, "\x00\xff\u2028")
	f.Add([]byte{0, 0, 0, 6, 200, 0, 6, 200, 0, 1, 1, 1, 3, 9, 9, 1, 1, 1}, "")
	f.Fuzz(func(t *testing.T, script []byte, text string) {
		l := submitted(t, time.Hour)
		for len(script) >= 3 {
			verb, pause, value := script[0], script[1], float64(script[2])
			script = script[3:]
			l.after(time.Duration(pause) * 100 * time.Millisecond)
			r := intent.Reading{Status: intent.InProgress, Progress: new(min(value, 100)), Message: text[:min(int(value), len(text))]}
			switch verb % 9 {
			case 0:
				l.happens(l.in.Deliver(intent.Delivery{JobID: "1", StatusURL: "/status/1"}, l.now))
			case 1:
				l.reads(r)
			case 2:
				r.Status, r.Result = intent.Completed, json.RawMessage(`{}`)
				l.reads(r)
			case 3:
				r.Status, r.Error = intent.Failed, &intent.Error{Code: text, Message: text}
				l.reads(r)
			case 4:
				r.UnknownState = text
				l.reads(r)
			case 5:
				l.ends(intent.TimedOut, nil)
			case 6:
				l.waits([]string{"backend", "config"}[int(value)%2])
			case 7:
				l.happens(l.in.Begin(l.now))
			case 8:
				l.happens(l.in.Miss(intent.Error{Code: text, Message: text}, l.now.Add(time.Minute), l.now))
			}
		}
		l.wantLawful()
	})
}

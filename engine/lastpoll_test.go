package engine

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

func TestTheLastPollsOfTenThousandIntentsAreRememberedAndTheLatestStay(t *testing.T) {
	var l lastPolls
	ids := make([]intent.ID, maxLastPolls+100)
	for i := range ids {
		ids[i] = intent.NewID(time.Now(), 0)
		l.note(&lastPoll{id: ids[i], code: 200})
		l.note(&lastPoll{id: ids[0], code: 200}) // is polled all the time
	}
	require.Len(t, l.of, maxLastPolls)
	require.NotNil(t, l.get(ids[0]))
	require.Nil(t, l.get(ids[1]))
	require.NotNil(t, l.get(ids[len(ids)-1]))
}

func TestWhatIsRememberedOfPollsIsBoundedInBytes(t *testing.T) {
	var l lastPolls
	for i := range 4000 {
		answer, whole := keepable(adapter.Answer{Code: 200, Body: make([]byte, maxLastBody, 2*maxLastBody)})
		require.True(t, whole)
		l.note(&lastPoll{id: intent.NewID(time.Now(), uint8(i)), answer: answer})
	}
	require.LessOrEqual(t, l.bytes, maxLastPollBytes)
	require.Greater(t, l.bytes, maxLastPollBytes*9/10)
	weighed := 0
	for e := l.order.Front(); e != nil; e = e.Next() {
		weighed += e.Value.(*lastPoll).weight()
	}
	require.Equal(t, weighed, l.bytes)
}

func TestOfALongAnswerTheBeginningIsKeptAndNothingConcluded(t *testing.T) {
	a, whole := keepable(adapter.Answer{Code: 200, Body: bytes.Repeat([]byte("x"), maxLastBody+1)})
	require.False(t, whole)
	require.GreaterOrEqual(t, len(a.Body), maxExcerpt)
	a, whole = keepable(adapter.Answer{Code: 200, Header: http.Header{"X": {string(make([]byte, maxLastHead))}}})
	require.False(t, whole)
	require.Nil(t, a.Header)
	_, whole = keepable(adapter.Answer{Code: 200, Cut: true})
	require.False(t, whole)
}

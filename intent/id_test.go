package intent_test

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestAnIDIsAUUIDOfVersion8(t *testing.T) {
	for range 100 {
		id := intent.NewID(start, 200)
		u, err := uuid.Parse(id.String())
		require.NoError(t, err)
		require.Equal(t, uuid.Version(8), u.Version())
		require.Equal(t, uuid.RFC4122, u.Variant())
		require.Equal(t, uint8(200), id.Shard())
		require.Equal(t, uint32(start.Unix()), binary.BigEndian.Uint32(u[:4]))
	}
}

func TestLaterIDsSortLater(t *testing.T) {
	for range 100 {
		earlier := intent.NewID(start, 255).String()
		later := intent.NewID(start.Add(time.Second), 0).String()
		require.Less(t, earlier, later)
	}
}

// TestRandomBitsAreAllThere watches each of the 128 bits over many ids: 46 stand
// still (seconds, shard, version, variant), 82 do not.
func TestRandomBitsAreAllThere(t *testing.T) {
	var ones, zeros [16]byte
	for range 200 { // a random bit stands still once in 2^199 runs
		id := intent.NewID(start, 0)
		for i, b := range id {
			ones[i] |= b
			zeros[i] |= ^b
		}
	}
	moving := 0
	for i := range ones {
		for both := ones[i] & zeros[i]; both != 0; both &= both - 1 {
			moving++
		}
	}
	require.Equal(t, 82, moving)
}

func TestAnIDHasOneForm(t *testing.T) {
	id := intent.NewID(start, 3)
	parsed, err := intent.ParseID(id.String())
	require.NoError(t, err)
	require.Equal(t, id, parsed)

	s := id.String()
	for _, other := range []string{
		"", "x", strings.ToUpper("a" + s[1:]), "{" + s + "}", "urn:uuid:" + s, strings.ReplaceAll(s, "-", ""),
		s + " ", " " + s, s[:35], s + "0", s[:35] + "g", "../" + s, s + "\x00", strings.Repeat("0", 1<<16),
	} {
		parsed, err := intent.ParseID(other)
		require.ErrorIs(t, err, intent.ErrBadID, "%q", other)
		require.Zero(t, parsed)
	}
}

func TestAnIDIsAStringInJSON(t *testing.T) {
	id := intent.NewID(start, 3)
	text, err := json.Marshal(map[intent.ID]intent.ID{id: id})
	require.NoError(t, err)
	require.JSONEq(t, `{"`+id.String()+`":"`+id.String()+`"}`, string(text))
	var back map[intent.ID]intent.ID
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, map[intent.ID]intent.ID{id: id}, back)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"x":"y"}`), &back), intent.ErrBadID)
}

func TestEventIDsOfTwoGenerationsNeverMeet(t *testing.T) {
	young, old := intent.Intent{}, intent.Intent{}
	young.Generation = 1
	require.Equal(t, int64(7), old.EventID(7), "in generation 0 an event's id is its seq")
	require.Greater(t, young.EventID(1), old.EventID(intent.MaxEvents))
	require.GreaterOrEqual(t, intent.SeqsPerGeneration, intent.MaxEvents)
}

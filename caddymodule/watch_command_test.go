package caddymodule

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestTheJSONOfAWatchMovesNoCursor(t *testing.T) {
	var out bytes.Buffer
	w := &watching{ended: make(map[string]intent.Status), out: &out, asJSON: true}

	require.NoError(t, w.show(&change{Intents: []row{{Status: intent.InProgress, Message: "\u009b2J\x7f\u202e done"}}}))

	require.Contains(t, out.String(), `\u009b2J\u007f\u202e done`)
	require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("\n")))
}

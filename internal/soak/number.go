// Package soak lets a test do more than its usual share: how much, and from which
// seed, is in the environment, where make soak puts it.
package soak

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Number is the number in an environment variable, or unless where it is not set.
func Number(t *testing.T, variable string, unless uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return unless
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, variable)
	return n
}

// Seed is the one in INTENTS_SEED, which repeats a run, or one of this moment. It is
// logged.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := Number(t, "INTENTS_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	return seed
}

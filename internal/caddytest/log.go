package caddytest

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Log keeps what a process says.
type Log struct {
	mu    sync.Mutex
	said  sync.Cond // something was, or never will be again
	text  bytes.Buffer
	ended bool
}

func newLog() *Log {
	l := new(Log)
	l.said.L = &l.mu
	return l
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.said.Broadcast()
	return l.text.Write(b)
}

func (l *Log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.said.Broadcast()
}

// Wait returns when the process has said something.
func (l *Log) Wait(t *testing.T, what string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.text.String(), what) {
		require.False(t, l.ended, "the process ended without saying %q:\n%s", what, l.text.String())
		l.said.Wait()
	}
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

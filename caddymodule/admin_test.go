package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A patient is a client's connection that notes how long it is given.
type patient struct {
	*httptest.ResponseRecorder
	until []time.Time
}

func (p *patient) SetWriteDeadline(t time.Time) error {
	p.until = append(p.until, t)
	return nil
}

func TestABackupHasToBeTakenAtAPace(t *testing.T) {
	client := &patient{ResponseRecorder: httptest.NewRecorder()}
	begun := time.Now()
	w := &promptWriter{w: client, rc: http.NewResponseController(client), begun: begun}
	for range 3 {
		_, err := w.Write(make([]byte, 2*backupPace))
		require.NoError(t, err)
	}
	require.Equal(t, []time.Time{
		begun.Add(backupPatience), begun.Add(backupPatience + 2*time.Second), begun.Add(backupPatience + 4*time.Second),
	}, client.until)
}

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-intents/caddy-intents/observe"
)

// An archivable store can be copied while it is in use. What is kept elsewhere is
// copied there.
type archivable interface {
	BackUp(ctx context.Context, begin func(size int64) io.Writer) error
}

// serveBackup answers with a copy of the store as it stands.
func serveBackup(w http.ResponseWriter, r *http.Request) error {
	open, err := storesOf(r)
	if err != nil {
		return err
	}
	if len(open) > 1 {
		return &observe.Problem{Status: http.StatusConflict, Code: "several_stores",
			Message: fmt.Sprintf("several stores are open; add one of them as the query store: %q", addressesOf(open))}
	}
	from, ok := open[0].store.(archivable)
	if !ok {
		return &observe.Problem{Status: http.StatusNotImplemented, Code: "no_file", Message: "this kind of store has no file to copy"}
	}
	begun := false
	err = from.BackUp(r.Context(), func(size int64) io.Writer {
		begun = true
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", strconv.FormatInt(size, 10))
		h.Set("Content-Disposition", `attachment; filename="intents.db"`)
		return &promptWriter{w: w, rc: http.NewResponseController(w), begun: time.Now()}
	})
	if err != nil && begun {
		panic(http.ErrAbortHandler) // an error in the body would be taken for a part of the file
	}
	return err
}

// Who fetches a backup gets a moment and then has to take so many bytes a second. A
// store that outgrows its mapping waits for the end of the copy.
const (
	backupPatience = 10 * time.Second
	backupPace     = 1 << 20
)

// promptWriter gives up on who reads too slowly.
type promptWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	begun   time.Time
	written int64
}

func (w *promptWriter) Write(b []byte) (int, error) {
	due := w.begun.Add(backupPatience + time.Duration(w.written/backupPace)*time.Second)
	if err := w.rc.SetWriteDeadline(due); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := w.w.Write(b)
	w.written += int64(n)
	return n, err
}

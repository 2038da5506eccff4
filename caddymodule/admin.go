package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/store"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves operators on Caddy's admin endpoint, under /intents/. It works on
// what this process has open, whatever config that is from.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.intents", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes is the method of caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: backupRoute, Handler: onlyGet(serveBackup)},
	}
}

// onlyGet is a route that reads.
func onlyGet(serve caddy.AdminHandlerFunc) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s: this URL has only GET", r.Method)}
		}
		return serve(w, r)
	})
}

// storeOf returns the open store that a request is about. There are several while a
// config that names another one takes over: then `store` in the query says which.
func storeOf(r *http.Request) (store.Store, error) {
	wanted := r.URL.Query().Get("store")
	found := make(map[string]*parts)
	var names []string
	installations.Range(func(key, value any) bool {
		address := key.(string)
		if p := value.(*installation).parts.Load(); p != nil && (wanted == "" || wanted == address) {
			found[address] = p
			names = append(names, address)
		}
		return true
	})
	switch len(names) {
	case 0:
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("no such store is open; the log says why")}
	case 1:
		return found[names[0]].store, nil
	}
	return nil, caddy.APIError{HTTPStatus: http.StatusConflict, Err: fmt.Errorf("several stores are open; add one of them as the query store: %q", names)}
}

// An archivable store can be copied while it is in use. What is kept elsewhere is
// copied there.
type archivable interface {
	BackUp(ctx context.Context, begin func(size int64) io.Writer) error
}

const backupRoute = "/intents/backup"

// serveBackup answers with a copy of the store as it stands.
func serveBackup(w http.ResponseWriter, r *http.Request) error {
	s, err := storeOf(r)
	if err != nil {
		return err
	}
	from, ok := s.(archivable)
	if !ok {
		return caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errors.New("this kind of store has no file to copy")}
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

var _ caddy.AdminRouter = adminAPI{}

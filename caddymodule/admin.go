package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves operators on Caddy's admin endpoint, under /intents/. It works on
// what this process has open, whatever config that is from. Who may ask is what the
// admin endpoint says.
type adminAPI struct {
	config context.Context // done when the config is replaced that the endpoint belongs to
}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.intents", New: func() caddy.Module { return new(adminAPI) }}
}

// Provision is called before there are apps.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.config = ctx
	return nil
}

const (
	adminRoot   = "/intents/"
	backupRoute = adminRoot + "backup"
)

// Routes is the method of caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	mux := http.NewServeMux()
	for pattern, methods := range a.places() {
		mux.Handle(pattern, methods)
	}
	return []caddy.AdminRoute{{Pattern: adminRoot, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		mux.ServeHTTP(w, r)
		return nil
	})}}
}

// places is all that can be asked for. Words come before ids, which none of them is.
func (a *adminAPI) places() map[string]adminMethods {
	return map[string]adminMethods{
		adminRoot + "{$}":                  {"GET": serveIntents},
		adminRoot:                          {"GET": serveNothing},
		adminRoot + "{id}":                 {"GET": serveIntent},
		adminRoot + "{id}/{action}":        {"POST": serveAction},
		adminRoot + "stats":                {"GET": serveStats},
		adminRoot + "changes":              {"GET": a.serveChanges},
		adminRoot + "drain":                {"GET": serveDrain, "POST": serveDrain, "DELETE": serveDrain},
		adminRoot + "webhooks":             {"GET": serveLetters},
		adminRoot + "webhooks/{id}":        {"GET": serveLetter, "DELETE": serveDiscard},
		adminRoot + "webhooks/{id}/replay": {"POST": serveReplay},
		backupRoute:                        {"GET": serveBackup},
		dashboardRoute:                     {"GET": serveDashboard},
		dashboardRoute + "/{file}":         {"GET": serveDashboard},
	}
}

// adminMethods is what can be done at one place.
type adminMethods map[string]func(w http.ResponseWriter, r *http.Request) error

func (m adminMethods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve, ok := m[r.Method]
	if !ok {
		observe.MethodNotAllowed(strings.Join(slices.Sorted(maps.Keys(m)), ", ")).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && ofAnotherSite(r) {
		otherSite.ServeHTTP(w, r)
		return
	}
	if err := serve(w, r); err != nil {
		adminProblem(err).ServeHTTP(w, r)
	}
}

var otherSite = &observe.Problem{Status: http.StatusForbidden, Code: "other_site", Message: "a page of another site may do nothing here"}

func serveNothing(http.ResponseWriter, *http.Request) error {
	return &observe.Problem{Status: http.StatusNotFound, Code: "not_found", Message: "there is nothing here"}
}

// adminProblem says to an operator what is wrong, unlike to a client with all that is
// known.
func adminProblem(err error) *observe.Problem {
	if p, ok := errors.AsType[*observe.Problem](err); ok {
		return p
	}
	p := &observe.Problem{Status: http.StatusInternalServerError, Code: "internal", Message: err.Error()}
	switch {
	case errors.Is(err, store.ErrEnded), errors.Is(err, engine.ErrOver):
		p.Status, p.Code, p.Message = http.StatusConflict, "ended", "it is over already: the intent has ended, or the backend says that the job has"
	case errors.Is(err, engine.ErrNoJob):
		p.Status, p.Code = http.StatusConflict, "no_job"
	case errors.Is(err, engine.ErrNotCanceled):
		p.Status, p.Code = http.StatusBadGateway, "not_canceled"
	case errors.Is(err, store.ErrNotFound):
		p.Status, p.Code = http.StatusNotFound, "not_found"
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull):
		p.Status, p.Code = http.StatusServiceUnavailable, "unavailable"
	}
	return p
}

// An openStore is a store that this process has open, and what works on it.
type openStore struct {
	address string
	*parts
}

// openStores returns those that a request is about, in the order of their addresses:
// all, or the one that the query names by `store`. There are several while a config that
// names another one takes over.
func openStores(q url.Values) ([]openStore, error) {
	wanted := q.Get("store")
	var all []openStore
	var addresses []string
	installations.Range(func(key, value any) bool {
		address := key.(string)
		addresses = append(addresses, address)
		if p := value.(*installation).parts.Load(); p != nil && (wanted == "" || wanted == address) {
			all = append(all, openStore{address, p})
		}
		return true
	})
	switch {
	case wanted != "" && len(addresses) > 0 && !slices.Contains(addresses, wanted):
		slices.Sort(addresses)
		return nil, observe.BadRequest(fmt.Sprintf("store: %q is not in use; write one of %q", wanted, addresses))
	case len(all) == 0:
		return nil, &observe.Problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: "no such store is open; the log says why"}
	}
	slices.SortFunc(all, func(a, b openStore) int { return cmp.Compare(a.address, b.address) })
	return all, nil
}

func addressesOf(all []openStore) (addresses []string) {
	for _, s := range all {
		addresses = append(addresses, s.address)
	}
	return addresses
}

// storesOf are the open stores for a request whose query can say no more than which.
func storesOf(r *http.Request) ([]openStore, error) {
	q, err := readQuery(r)
	if err != nil {
		return nil, err
	}
	return openStores(q)
}

// storeOf finds the intent that a request names, and the store that has it.
func storeOf(r *http.Request) (openStore, intent.Intent, error) {
	id, err := intent.ParseID(r.PathValue("id"))
	if err != nil {
		return openStore{}, intent.Intent{}, observe.BadRequest(fmt.Sprintf("%q is no intent's id", r.PathValue("id")))
	}
	open, err := storesOf(r)
	if err != nil {
		return openStore{}, intent.Intent{}, err
	}
	for _, s := range open {
		in, err := s.store.Get(r.Context(), id)
		if err == nil {
			return s, in, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return openStore{}, intent.Intent{}, err
		}
	}
	return openStore{}, intent.Intent{}, observe.NotFound()
}

func answerJSON(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client has left, if anything
	return nil
}

var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)

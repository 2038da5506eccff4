package caddymodule

import (
	"cmp"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

func init() {
	caddy.RegisterModule(BoltStore{})
	caddy.RegisterModule(MemoryStore{})
}

// A StoreOpener is a module in the namespace intents.stores.
type StoreOpener interface {
	// Address names the store: two configs with the same address share one. It is
	// called after Provision and opens nothing.
	Address() string

	// Open opens the store. It may be called again after it failed.
	Open(log *slog.Logger) (store.Store, error)
}

// A sharedStore is a StoreOpener that needs a secret which does not come from Caddy's own
// storage, and says why.
type sharedStore interface{ NeedsSecret() string }

// BoltStore keeps intents in one file, which survives a crash and a power cut: a
// client is answered after the file is synced. One Caddy at a time can have it.
type BoltStore struct {
	// The file. Default: "intents/intents.db" in Caddy's data directory. It is
	// created with its directory if it is not there.
	Path string `json:"path,omitempty"`

	address string
}

// CaddyModule returns the Caddy module information.
func (BoltStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "intents.stores.bolt", New: func() caddy.Module { return new(BoltStore) }}
}

// Provision fills in the path.
func (s *BoltStore) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	path = cmp.Or(path, defaultStore())
	if s.Path, err = filepath.Abs(path); err != nil {
		return err
	}
	s.address = "bolt:" + realPath(s.Path)
	return nil
}

func defaultStore() string { return filepath.Join(caddy.AppDataDir(), "intents", "intents.db") }

// Address is the file itself, so that no two spellings of a path open it twice.
func (s *BoltStore) Address() string { return s.address }

// realPath follows the links in a path as far as it exists: a file that is made
// later must not change its name by that.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	return filepath.Join(realPath(dir), filepath.Base(path))
}

// Open opens the file. One that is damaged is left as it is: the operator decides.
func (s *BoltStore) Open(log *slog.Logger) (store.Store, error) {
	st, err := boltstore.Open(s.Path, boltstore.Options{Logger: log})
	if err != nil {
		return nil, advised(err, s.Path)
	}
	return st, nil
}

// UnmarshalCaddyfile parses the store's arguments. Syntax:
//
//	store bolt [<path>]
func (s *BoltStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		s.Path = d.Val()
	}
	return noMore(d)
}

// MemoryStore keeps intents in memory. They are gone when Caddy stops, and with a
// reload that names another store.
type MemoryStore struct{}

// CaddyModule returns the Caddy module information.
func (MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "intents.stores.memory", New: func() caddy.Module { return new(MemoryStore) }}
}

func (*MemoryStore) Address() string { return "memory" }

func (*MemoryStore) Open(log *slog.Logger) (store.Store, error) {
	log.Warn("intents are kept in memory: they are lost when Caddy stops")
	return memstore.New(), nil
}

// UnmarshalCaddyfile parses the store's arguments. Syntax:
//
//	store memory
func (*MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	return noMore(d)
}

// noMore refuses what is left of a segment.
func noMore(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("unexpected %q: there is nothing to configure in a block here", d.Val())
	}
	return nil
}

var (
	_ StoreOpener           = (*BoltStore)(nil)
	_ caddy.Provisioner     = (*BoltStore)(nil)
	_ caddyfile.Unmarshaler = (*BoltStore)(nil)
	_ StoreOpener           = (*MemoryStore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryStore)(nil)
)

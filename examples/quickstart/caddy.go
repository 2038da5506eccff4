package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/logging"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-intents/caddy-intents" // registers the plugin
)

// startCaddy runs Caddy in this process with the Caddyfile of the repository. The
// environment says where everything is, as it would for `caddy run`; the log goes
// to a file and only errors to the terminal, which has a story to tell.
func startCaddy(p place) error {
	for name, value := range maps.All(map[string]string{
		"INTENTS_ADMIN":   "off",
		"INTENTS_LISTEN":  p.listen,
		"INTENTS_BACKEND": p.backend,
		"INTENTS_STORE":   p.store,
	}) {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	path, err := findCaddyfile()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": path})
	if err != nil {
		return err
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		return err
	}
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}},
		"file": {BaseLog: caddy.BaseLog{
			WriterRaw: caddyconfig.JSONModuleObject(logging.FileWriter{Filename: p.log}, "output", "file", nil),
		}},
	}}
	config.Admin.Config = &caddy.ConfigSettings{Persist: new(false)} // not to be what `caddy run --resume` runs
	if err := caddy.Run(&config); err != nil {
		return fmt.Errorf("starting Caddy: %w", err)
	}
	return nil
}

// findCaddyfile looks for the Caddyfile of the repository, from here upwards.
func findCaddyfile() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, "Caddyfile")
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("there is no Caddyfile here: run this from the repository")
		}
		dir = filepath.Dir(dir)
	}
}

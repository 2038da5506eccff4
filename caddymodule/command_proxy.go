package caddymodule

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-intents/caddy-intents/adapter"
)

func proxyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   `proxy --to <addr> --submit "<method> <path>" [--status <path>] [--from <addr>]`,
		Short: "Try intents in front of your own job API, without a config",
		Long: `
Runs Caddy with the intents plugin in front of one job API. Everything that is not
said is inferred from the API's answers, and logged at the first submit together
with the lines that would pin it in a Caddyfile.

The paths are those of the job API; {job_id} stands for the id of a job:

  caddy intents proxy --from :8080 --to localhost:8000 \
    --submit "POST /reports/generate" --status "/reports/status/{job_id}"

Without --status the API has to name its status URL itself, in a header such as
Location or in the body of its answer.

Intents are kept in Caddy's data directory, or where --store says: a file, or the
word memory.`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runProxy),
	}
	f := cmd.Flags()
	f.StringP("from", "f", ":8080", "Address to listen on; with a host name it is served over HTTPS")
	f.StringSliceP("to", "t", nil, "Address of the job API; may be given more than once")
	f.String("submit", "", `Request that starts a job, for example "POST /reports"`)
	f.String("status", "", `Request that asks for a job, for example "GET /reports/{job_id}"`)
	f.String("cancel", "", `Request that cancels a job, for example "DELETE /reports/{job_id}"`)
	f.String("store", "", "File to keep intents in, or memory (default: in Caddy's data directory)")
	f.Bool("access-log", false, "Log every request")
	f.BoolP("debug", "v", false, "Log what the plugin does in detail")
	return cmd
}

func runProxy(fs caddycmd.Flags) (int, error) {
	caddy.TrapSignals()
	cfg, err := proxyConfig(fs)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if err := caddy.Run(cfg); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	caddy.Log().Info("watching jobs", zap.String("from", fs.String("from")), zap.String("submit", fs.String("submit")))
	select {} // signals end the process
}

// proxyConfig makes the config that the flags describe.
func proxyConfig(fs caddycmd.Flags) (*caddy.Config, error) {
	handler, err := proxyHandler(fs)
	if err != nil {
		return nil, err
	}
	server, err := proxyServer(fs.String("from"), handler)
	if err != nil {
		return nil, err
	}
	if fs.Bool("access-log") {
		server.Logs = new(caddyhttp.ServerLogConfig)
	}
	app := App{}
	switch where := fs.String("store"); where {
	case "":
	case "memory":
		app.StoreRaw = json.RawMessage(`{"store":"memory"}`)
	default:
		path, err := filepath.Abs(where)
		if err != nil {
			return nil, fmt.Errorf("--store: %w", err)
		}
		app.StoreRaw = caddyconfig.JSONModuleObject(BoltStore{Path: path}, "store", "bolt", nil)
	}
	cfg := &caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: new(false)}},
		AppsRaw: caddy.ModuleMap{
			"http":    caddyconfig.JSON(caddyhttp.App{Servers: map[string]*caddyhttp.Server{"intents": server}}, nil),
			"intents": caddyconfig.JSON(app, nil),
		},
	}
	if fs.Bool("debug") {
		cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{Level: zap.DebugLevel.CapitalString()}},
		}}
	}
	return cfg, nil
}

func proxyHandler(fs caddycmd.Flags) (*Handler, error) {
	to, err := fs.GetStringSlice("to")
	if err != nil || len(to) == 0 {
		return nil, fmt.Errorf("--to is missing: write the address of the job API, for example --to localhost:8000")
	}
	job := &Job{Name: "job"}
	method, path, err := requestFlag("submit", fs.String("submit"))
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fmt.Errorf(`--submit is missing: write the request that starts a job, for example --submit "POST /reports"`)
	}
	job.Submit = adapter.Route{Method: method, Path: path}
	for _, e := range []struct {
		flag string
		to   **adapter.Endpoint
	}{{"status", &job.Status}, {"cancel", &job.Cancel}} {
		method, target, err := requestFlag(e.flag, fs.String(e.flag))
		if err != nil {
			return nil, err
		}
		if target != "" {
			*e.to = &adapter.Endpoint{Method: method, Target: target}
		}
	}
	if _, err := job.compile(adapter.Options{}, unheard); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	backend, err := proxyTo(to, caddyfile.Token{File: "--to", Line: 1})
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	return &Handler{BackendRaw: backend, Jobs: []*Job{job}}, nil
}

// proxyServer listens on an address as Caddy's own reverse-proxy command does: with
// a host name over HTTPS, else over plain HTTP.
func proxyServer(from string, handler *Handler) (*caddyhttp.Server, error) {
	addr, err := httpcaddyfile.ParseAddress(from)
	if err != nil || addr.Path != "" {
		return nil, fmt.Errorf("--from: %q is not an address; write for example :8080 or example.com", from)
	}
	plain := addr.Scheme == "http" || addr.Scheme == "" && (addr.Host == "" || addr.Port == "80")
	if addr.Port == "" {
		addr.Port = "443"
		if plain {
			addr.Port = "80"
		}
	}
	route := caddyhttp.Route{HandlersRaw: []json.RawMessage{
		caddyconfig.JSONModuleObject(handler, "handler", "intents", nil),
	}}
	if addr.Host != "" {
		route.MatcherSetsRaw = []caddy.ModuleMap{{"host": caddyconfig.JSON(caddyhttp.MatchHost{addr.Host}, nil)}}
	}
	server := &caddyhttp.Server{Listen: []string{":" + addr.Port}, Routes: caddyhttp.RouteList{route}}
	if plain {
		server.AutoHTTPS = &caddyhttp.AutoHTTPSConfig{Disabled: true}
	}
	return server, nil
}

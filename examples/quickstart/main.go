// Command quickstart shows the plugin at work, with nothing to set up: a report
// service as it may have been running for years, a real Caddy with the intents
// plugin and the Caddyfile of this repository in front of it, one report that is
// ordered and watched, and a page that shows the old and the new way side by side.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func main() {
	dir := flag.String("dir", "", "directory to keep intents in; default: a temporary one, removed at the end")
	flag.Parse()
	caddy.TrapSignals() // Ctrl-C and SIGTERM stop Caddy and end the process
	if err := run(os.Stdout, *dir, 10*time.Second); err != nil && !caddy.Exiting() {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
	select {}
}

// run brings everything up, tells the story and leaves all of it running. takes is
// how long a report takes.
func run(out io.Writer, dir string, takes time.Duration) error {
	dir, err := prepare(dir)
	if err != nil {
		return err
	}
	service := newReportService(takes)
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(backend, withPage(service)) // ends with the process

	port, err := freePort()
	if err != nil {
		return err
	}
	place := place{
		site:    "http://localhost:" + port,
		listen:  ":" + port,
		backend: backend.Addr().String(),
		store:   filepath.Join(dir, "intents.db"),
		log:     filepath.Join(dir, "caddy.log"),
	}
	if err := startCaddy(place); err != nil {
		return err
	}
	return story{out: out, place: place, service: service}.tell(context.Background())
}

// A place says where everything is.
type place struct {
	site    string // URL of Caddy
	listen  string // the same, as the Caddyfile has it
	backend string // address of the report service
	store   string // file of the intents
	log     string // file of Caddy's log
}

// prepare makes the directory. A temporary one goes away with the process.
func prepare(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.MkdirTemp("", "intents-quickstart-")
	if err != nil {
		return "", err
	}
	caddy.OnExit(func(context.Context) { _ = os.RemoveAll(dir) })
	return dir, nil
}

// freePort asks the system for a port. Somebody else can get it before Caddy does;
// then Caddy says so.
func freePort() (string, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

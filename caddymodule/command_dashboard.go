package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func dashboardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dashboard [--listen <addr>] [--address <addr> | --config <path> [--adapter <name>]] [--store <address>]",
		Short: "Show the intents of the running Caddy in a browser, and steer them",
		Long: `
Lets a browser on this machine look at the dashboard of the running Caddy, until it is
interrupted. A browser that is sent to the admin endpoint itself is refused there unless
the config lets it in, and cannot ask a Unix socket at all. Only what is under /intents/
can be reached, and only from this machine.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         asks(runDashboard),
	}
	addAdminFlags(cmd)
	cmd.Flags().String("listen", "localhost:2020", "Address on this machine for the browser")
	return cmd
}

func runDashboard(cmd *cobra.Command, c *adminClient, _ []string) error {
	said := cmd.Flags().Lookup("listen").Value.String()
	listener, err := net.Listen("tcp", said)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer func() { _ = listener.Close() }() // once more than the server
	addr := listener.Addr().(*net.TCPAddr)
	if !addr.IP.IsLoopback() {
		return fmt.Errorf("--listen: %q can be reached from elsewhere, and who reaches it can end intents; write for example localhost:2020", said)
	}
	host, _, err := net.SplitHostPort(said)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	host = net.JoinHostPort(host, strconv.Itoa(addr.Port))
	window, err := c.window(host)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: window}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	cmd.PrintErrf("Open http://%s%s in a browser; Ctrl-C ends this.\n", host, dashboardRoute)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the dashboard: %w", err)
	}
	return nil
}

// window passes on what a browser asks of this host, as if a program asked: the admin
// endpoint is told of its own origin. So it is here that other origins are refused, and
// other hosts, which may be names that somebody leads to this machine. Of a client with a
// store only that one is shown.
func (c *adminClient) window(host string) (http.Handler, error) {
	to, err := url.Parse(c.origin)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: c.client.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			if c.store != "" {
				query := r.Out.URL.Query()
				query.Set("store", c.store)
				r.Out.URL.RawQuery = query.Encode()
			}
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "Sec-Fetch-") {
					r.Out.Header.Del(name)
				}
			}
			r.Out.Header.Del("Referer")
			r.Out.Header.Set("Origin", c.origin)
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("Access-Control-Allow-Origin") // is for the origin that was told
			return nil
		},
	}
	mux := http.NewServeMux()
	mux.Handle(adminRoot, proxy)
	mux.Handle("/{$}", http.RedirectHandler(dashboardRoute, http.StatusSeeOther))
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Host, host) {
			http.Error(w, "this is "+host, http.StatusForbidden)
			return
		}
		guarded.ServeHTTP(w, r)
	}), nil
}

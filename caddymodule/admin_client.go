package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// An adminClient asks the admin endpoint of a running Caddy, wherever it listens.
// Caddy's own client makes one text of every error, and cannot be stopped.
type adminClient struct {
	address string
	origin  string
	store   string // the one that is meant; "" if that need not be said
	client  http.Client
}

// addAdminFlags adds the flags that say where the admin endpoint is, as Caddy's own
// commands have them.
func addAdminFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("address", "", "Address of the admin endpoint, if it is not in the config")
	f.StringP("config", "c", "", "Config that the address is read from")
	f.StringP("adapter", "a", "", "Adapter of that config, for example caddyfile")
	f.String("store", "", "Which store, if several are open")
}

func newAdminClient(cmd *cobra.Command) (*adminClient, error) {
	f := cmd.Flags()
	address, err := caddycmd.DetermineAdminAPIAddress(f.Lookup("address").Value.String(), nil,
		f.Lookup("config").Value.String(), f.Lookup("adapter").Value.String())
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil || parsed.PortRangeSize() > 1 {
		return nil, fmt.Errorf("--address: %q is not an address; write for example localhost:2019", address)
	}
	c := &adminClient{address: address, origin: "http://" + parsed.JoinHostPort(0), store: f.Lookup("store").Value.String()}
	if parsed.IsUnixNetwork() || parsed.IsFdNetwork() {
		c.origin = "http://127.0.0.1" // there has to be some host, and it is not looked at
		parsed.Host, _, _ = strings.Cut(parsed.Host, "|")
	}
	c.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, parsed.Network, parsed.JoinHostPort(0))
	}}
	return c, nil
}

// An adminError is what the admin API answers instead of what was asked for.
type adminError struct {
	status  int
	code    string
	message string
	told    bool // message is in the answer
}

func (e *adminError) Error() string { return e.message }

// An adminRequest is what is asked of the admin API.
type adminRequest struct {
	method string // GET if it is not said
	path   string
	query  url.Values
	body   any // written as JSON; nil for none
}

// build makes the request to send.
func (c *adminClient) build(ctx context.Context, asked adminRequest) (*http.Request, error) {
	query := make(url.Values)
	maps.Copy(query, asked.query)
	if c.store != "" {
		query.Set("store", c.store)
	}
	target := c.origin + asked.path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var payload io.Reader
	if asked.body != nil {
		encoded, err := json.Marshal(asked.body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, asked.method, target, payload)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(c.origin, "//127.0.0.1") {
		r.Header.Set("Origin", c.origin)
	}
	return r, nil
}

// ask sends a request and returns the answer, whose body is to be closed. What the admin
// API refuses is an *adminError.
func (c *adminClient) ask(ctx context.Context, asked adminRequest) (*http.Response, error) {
	r, err := c.build(ctx, asked)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking the admin endpoint at %s: %w", c.address, errors.Unwrap(err))
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	err = readProblem(resp)
	if e, ok := errors.AsType[*adminError](err); ok && e.status == http.StatusNotFound && !e.told {
		e.message = "this Caddy does not know intents: it runs without the plugin, or with an older one"
	}
	return nil, err
}

// readProblem reads what is answered instead of what was asked for.
func readProblem(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("reading the error of the admin endpoint: %w", err)
	}
	var problem struct {
		Detail string `json:"detail"`
		Error  any    `json:"error"` // Caddy's own are texts
	}
	_ = json.Unmarshal(text, &problem)
	e := &adminError{status: resp.StatusCode, message: problem.Detail}
	switch said := problem.Error.(type) {
	case string:
		e.message = said
	case map[string]any:
		e.code, _ = said["code"].(string)
	}
	e.told = e.message != ""
	if !e.told {
		e.message = resp.Status
	}
	return e
}

// askJSON is ask for an answer in JSON. It returns the code of the answer.
func (c *adminClient) askJSON(ctx context.Context, asked adminRequest, into any) (code int, err error) {
	resp, err := c.ask(ctx, asked)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return 0, fmt.Errorf("reading the answer of the admin endpoint at %s: %w", c.address, err)
	}
	return resp.StatusCode, nil
}

// asks makes the function of a command one that asks the admin API, and whose errors have
// exit codes.
func asks(run func(cmd *cobra.Command, c *adminClient, args []string) error) func(cmd *cobra.Command, args []string) error {
	return exits(func(cmd *cobra.Command, args []string) error {
		c, err := newAdminClient(cmd)
		if err != nil {
			return err
		}
		return run(cmd, c, args)
	})
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// A client is one connection that is kept alive. It does as little as HTTP lets it,
// since it shares the CPUs with what is measured.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(addr string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReaderSize(conn, 1024)}, nil
}

// post is the request that starts a job.
var post = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n%s",
	submitPath, `{"kind":"annual"}`)

func get(path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: api.example.com\r\n\r\n", path)
}

// do sends a request and reads the answer to its end.
func (c *client) do(request []byte, code int) (http.Header, error) {
	resp, err := c.send(request, code)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	return resp.Header, nil
}

// send sends a request and reads the head of the answer.
func (c *client) send(request []byte, code int) (*http.Response, error) {
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != code {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, fmt.Errorf("asked %q: %s, not %d: %s", firstLine(request), resp.Status, code, body)
	}
	return resp, nil
}

func firstLine(request []byte) []byte {
	for i, c := range request {
		if c == '\r' {
			return request[:i]
		}
	}
	return request
}

func (c *client) close() { _ = c.conn.Close() }

// submitJobs starts jobs and returns the ids of their intents.
func submitJobs(addr string, n int) ([]string, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	ids := make([]string, n)
	for i := range ids {
		h, err := c.do(post, http.StatusAccepted)
		if err != nil {
			return nil, err
		}
		if ids[i] = h.Get("Intent-Id"); ids[i] == "" {
			return nil, fmt.Errorf("a submit made no intent: %v", h)
		}
	}
	return ids, nil
}

// dialAll opens n connections.
func dialAll(addr string, n int) ([]*client, error) {
	clients := make([]*client, n)
	for i := range clients {
		c, err := dial(addr)
		if err != nil {
			closeAll(clients[:i])
			return nil, err
		}
		clients[i] = c
	}
	return clients, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		c.close()
	}
}

// pause waits for d, or returns the error of a context that ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

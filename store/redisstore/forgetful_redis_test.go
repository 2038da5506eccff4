//go:build redis

package redisstore_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A forgetful proxy passes every request on, and of every third script breaks the
// connection in place of the answer.
type forgetful struct {
	addr   string
	forgot atomic.Int64

	server  string
	scripts atomic.Int64
	all     sync.WaitGroup
}

func newForgetful(t *testing.T, server string) *forgetful {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &forgetful{addr: l.Addr().String(), server: server}
	t.Cleanup(p.all.Wait)
	t.Cleanup(func() { l.Close() })
	p.all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.serve(client) })
		}
	})
	return p
}

func (p *forgetful) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	var forget atomic.Bool
	p.all.Go(func() {
		defer server.Close()
		pass(client, server, func(request []byte) bool {
			if bytes.Contains(bytes.ToLower(request), []byte("evalsha")) && p.scripts.Add(1)%3 == 0 {
				forget.Store(true)
			}
			return true
		})
	})
	pass(server, client, func([]byte) bool {
		if forget.Load() {
			p.forgot.Add(1)
			return false
		}
		return true
	})
}

// pass copies as long as what is copied may pass.
func pass(from, to net.Conn, may func([]byte) bool) {
	buffer := make([]byte, 256<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !may(buffer[:n]) {
			return
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

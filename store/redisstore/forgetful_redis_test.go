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

// A forgetful proxy passes every request on, and of some breaks the connection in place
// of the answer. Who has subscribed can be cut off without noticing.
type forgetful struct {
	addr   string
	forgot atomic.Int64
	muted  atomic.Bool // from now on nothing goes to those who have subscribed

	server string
	loses  func(request []byte) bool
	all    sync.WaitGroup
}

// everyThird loses the answers of every third script.
func everyThird() func([]byte) bool {
	var scripts atomic.Int64
	return func(request []byte) bool {
		return bytes.Contains(bytes.ToLower(request), []byte("evalsha")) && scripts.Add(1)%3 == 0
	}
}

func newForgetful(t *testing.T, server string, loses func(request []byte) bool) *forgetful {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &forgetful{addr: l.Addr().String(), server: server, loses: loses}
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
	var forget, subscribed atomic.Bool
	p.all.Go(func() {
		defer server.Close()
		pass(client, server, func(request []byte) (bool, bool) {
			if bytes.Contains(request, []byte("subscribe")) && !p.muted.Load() {
				subscribed.Store(true)
			}
			if p.loses(request) {
				forget.Store(true)
			}
			return true, true
		})
	})
	pass(server, client, func([]byte) (bool, bool) {
		if forget.Load() {
			p.forgot.Add(1)
			return false, false
		}
		return !subscribed.Load() || !p.muted.Load(), true
	})
}

// pass copies what may pass, for as long as it goes on.
func pass(from, to net.Conn, may func([]byte) (pass, goOn bool)) {
	buffer := make([]byte, 256<<10)
	for {
		n, err := from.Read(buffer)
		passes, goesOn := n > 0, true
		if n > 0 {
			passes, goesOn = may(buffer[:n])
		}
		if !goesOn {
			return
		}
		if passes {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A Guard is a master with a replica and three sentinels that make the replica master
// when the master is gone.
type Guard struct {
	Sentinels []*Server
	Nodes     [2]*Server

	settings []string // of both nodes
}

// MasterName is what the sentinels of a Guard call the master.
const MasterName = "main"

// StartGuard runs them and waits until the sentinels know each other and the replica.
// args are more of the settings of both nodes.
func StartGuard(t testing.TB, args ...string) *Guard {
	t.Helper()
	g := new(Guard)
	// A replica is sent everything at once: it waits for no other that might come.
	args = append([]string{"--repl-diskless-sync-delay", "0"}, args...)
	g.Nodes[0] = Start(t, args...)
	g.settings = slices.Clip(g.Nodes[0].args)
	host, port, err := net.SplitHostPort(g.Nodes[0].Addr)
	require.NoError(t, err)
	g.Nodes[1] = Start(t, append(args, "--replicaof", host+" "+port)...)
	g.Nodes[0].Await(t, "INFO replication", "state=online")
	for range 3 {
		dir := t.TempDir()
		config := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %s %s %s 2\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 6000\n", MasterName, host, port)
		require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
		g.Sentinels = append(g.Sentinels, start(t, dir, config, "--sentinel"))
	}
	for _, s := range g.Sentinels {
		s.Await(t, "INFO sentinel", "slaves=1,sentinels=3")
	}
	return g
}

// Addrs are those of the sentinels.
func (g *Guard) Addrs() []string { return Addrs(g.Sentinels) }

// Master is the node that the sentinels have made master.
func (g *Guard) Master(t testing.TB) *Server {
	t.Helper()
	var master *Server
	require.Eventually(t, func() bool {
		info, _ := g.Sentinels[0].Do("INFO", "sentinel")
		for _, n := range g.Nodes {
			if n.cmd == nil || !strings.Contains(info, "address="+n.Addr) {
				continue
			}
			if role, _ := n.Do("INFO", "replication"); strings.Contains(role, "role:master") {
				master = n
			}
		}
		return master != nil
	}, time.Minute, 20*time.Millisecond, "no master")
	return master
}

// CutLink keeps from the replica what the master gets from now on.
func (g *Guard) CutLink(t testing.TB) {
	t.Helper()
	master := g.Master(t)
	for _, command := range []string{"ACL SETUSER default -psync -sync", "CLIENT KILL TYPE replica"} {
		_, err := master.Do(strings.Fields(command)...)
		require.NoError(t, err)
	}
	master.Await(t, "INFO replication", "connected_slaves:0")
}

// FailOver kills the master, waits until the other node is the master, and brings the
// killed one back as its replica.
func (g *Guard) FailOver(t testing.TB) {
	t.Helper()
	killed := g.Master(t)
	killed.Kill()
	next := g.Master(t)
	host, port, err := net.SplitHostPort(next.Addr)
	require.NoError(t, err)
	killed.args = append(g.settings, "--replicaof", host+" "+port)
	killed.Restart(t)
	next.Await(t, "INFO replication", "state=online")
}

// StartCluster runs three nodes that share the slots. args are more of their settings.
func StartCluster(t testing.TB, args ...string) []*Server {
	t.Helper()
	var nodes []*Server
	var buses []string
	for range 3 {
		_, bus, err := net.SplitHostPort(FreeAddr(t))
		require.NoError(t, err)
		buses = append(buses, bus)
		nodes = append(nodes, Start(t, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", bus}, args...)...))
	}
	const slots = 16384
	for i, n := range nodes {
		first, last := i*slots/len(nodes), (i+1)*slots/len(nodes)-1
		answer, err := n.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last))
		require.NoError(t, err)
		require.Equal(t, "+OK", answer)
		host, port, err := net.SplitHostPort(nodes[0].Addr)
		require.NoError(t, err)
		if i > 0 {
			_, err = n.Do("CLUSTER", "MEET", host, port, buses[0])
			require.NoError(t, err)
		}
	}
	for _, n := range nodes {
		n.Await(t, "CLUSTER INFO", "cluster_state:ok")
		n.Await(t, "CLUSTER INFO", "cluster_known_nodes:3")
	}
	return nodes
}

// Addrs are those of some servers.
func Addrs(servers []*Server) (all []string) {
	for _, s := range servers {
		all = append(all, s.Addr)
	}
	return all
}

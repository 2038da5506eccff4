package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A Mode is how the servers are put together. It is said, and not guessed from the
// number of addresses: a cluster that is taken for one server works, until it does not.
type Mode string

const (
	Single   Mode = "single"
	Sentinel Mode = "sentinel" // Addrs are those of the sentinels
	Cluster  Mode = "cluster"  // Addrs are some of the nodes
)

// Options of [Open]. Addrs is needed, and Master in the mode Sentinel.
type Options struct {
	Mode     Mode // default: Single
	Addrs    []string
	Master   string // what the sentinels call it
	Database int    // not in the mode Cluster

	Username, Password                 string
	SentinelUsername, SentinelPassword string
	TLS                                *tls.Config // nil: none

	Prefix string        // of all keys; default: "intents:"
	Copies int           // replicas of the server that have to confirm a change before it counts
	Term   time.Duration // of leases; default: 15 s
	Logger *slog.Logger
}

// DefaultPrefix begins all keys where nothing else is said, DefaultTerm is how long a
// lease lasts.
const (
	DefaultPrefix = "intents:"
	DefaultTerm   = 15 * time.Second
)

// How long a server may take, for a connection and for all that belongs to one call. A
// command is repeated once if its connection breaks: the scripts bear that.
const (
	dialTimeout    = 2 * time.Second
	commandTimeout = 3 * time.Second
	copyTimeout    = 1 * time.Second // for the replicas to confirm
	repeats        = 1
	connections    = 64 // of each of the two pools of a client, at most
)

// Complete fills in defaults, or says what cannot be.
func (o *Options) Complete() error {
	o.Mode = cmp.Or(o.Mode, Single)
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	o.Term = cmp.Or(o.Term, DefaultTerm)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(o.Addrs) == 0:
		return errors.New("no address of a Redis")
	case o.Mode == Single && len(o.Addrs) > 1:
		return fmt.Errorf("%d addresses: say mode sentinel or mode cluster", len(o.Addrs))
	case (o.Mode == Sentinel) != (o.Master != ""):
		return errors.New("mode sentinel needs the name of a master, and no other mode has one")
	case o.Mode == Cluster && o.Database != 0:
		return errors.New("a cluster has no databases to choose from")
	case o.Copies < 0:
		return fmt.Errorf("%d replicas cannot confirm anything", o.Copies)
	}
	return nil
}

func init() { redis.SetLogger(mute{}) }

// mute is for what go-redis would write to the standard error. All that it says there
// is in the errors that it returns.
type mute struct{}

func (mute) Printf(context.Context, string, ...any) {}

// connect makes a client; it connects when it is used, and greets the server then.
func (o *Options) connect(greet func(context.Context, *redis.Conn) error) (redis.UniversalClient, error) {
	// Maintenance notifications are of Redis Enterprise; elsewhere they are noise.
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch o.Mode {
	case Single:
		return redis.NewClient(&redis.Options{
			Addr: o.Addrs[0], DB: o.Database, Username: o.Username, Password: o.Password, TLSConfig: o.TLS,
			DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: commandTimeout, WriteTimeout: commandTimeout, ContextTimeoutEnabled: true, MaxRetries: repeats,
			PoolSize: connections, PipelinePoolSize: connections, DisableIdentity: true, OnConnect: greet, MaintNotificationsConfig: quiet,
		}), nil
	case Sentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			SentinelAddrs: o.Addrs, MasterName: o.Master, DB: o.Database, Username: o.Username, Password: o.Password,
			SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword, TLSConfig: o.TLS,
			DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: commandTimeout, WriteTimeout: commandTimeout, ContextTimeoutEnabled: true, MaxRetries: repeats,
			PoolSize: connections, PipelinePoolSize: connections, DisableIdentity: true, OnConnect: greet,
		}), nil
	case Cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: o.Addrs, Username: o.Username, Password: o.Password, TLSConfig: o.TLS, MaxRedirects: redirects,
			DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: commandTimeout, WriteTimeout: commandTimeout, ContextTimeoutEnabled: true, MaxRetries: repeats,
			PoolSize: connections, PipelinePoolSize: connections, DisableIdentity: true, OnConnect: greet, MaintNotificationsConfig: quiet,
		}), nil
	}
	return nil, fmt.Errorf("there is no mode %q: single, sentinel or cluster", o.Mode)
}

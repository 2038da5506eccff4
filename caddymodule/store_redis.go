package caddymodule

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/redisstore"
)

func init() {
	caddy.RegisterModule(RedisStore{})
}

// RedisStore keeps intents in Redis, so that several Caddys share them: any of them takes
// requests, polls and serves observers, and the others go on with what one leaves when it
// dies. All of them need the same `secret`.
type RedisStore struct {
	// Where Redis is: redis://[user@]host[:port][/database], or rediss:// with TLS. In the
	// mode sentinel these are the sentinels, in the mode cluster some of the nodes.
	URLs []string `json:"urls,omitempty"`

	// How the servers are put together: single, sentinel or cluster. Default: single.
	Mode string `json:"mode,omitempty"`

	// What the sentinels call the master.
	Master string `json:"master,omitempty"`

	// The ACL user, if the URL names none.
	Username string `json:"username,omitempty"`

	// The password, if the URL has none, for example {env.REDIS_PASSWORD} or
	// {file./run/secrets/redis}.
	Password string `json:"password,omitempty"`

	// The ACL user of the sentinels, if they want one.
	SentinelUsername string `json:"sentinel_username,omitempty"`

	// The password of the sentinels, if they want one.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// How TLS is spoken. Needs URLs with rediss://.
	TLS *RedisTLS `json:"tls,omitempty"`

	// What all keys begin with, which installations of different purposes on one Redis need.
	// Default: "intents:".
	Prefix string `json:"prefix,omitempty"`

	// How many replicas of the Redis server have to confirm a change before a client is told
	// of it. Default: 0. With a replica that can become the master, 1 is advised.
	MinReplicasAck int `json:"min_replicas_ack,omitempty"`

	options redisstore.Options
	address string
}

// RedisTLS is how TLS is spoken with Redis.
type RedisTLS struct {
	// A file with the certificates, PEM, by which that of the server is trusted. Default:
	// those of the system.
	CA string `json:"ca,omitempty"`

	// A file with our own certificate, PEM, if the server asks for one. Needs key.
	Certificate string `json:"certificate,omitempty"`

	// A file with the key of that certificate, PEM.
	Key string `json:"key,omitempty"`

	// The name in the server's certificate. Default: the host of the URL.
	ServerName string `json:"server_name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (RedisStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "intents.stores.redis", New: func() caddy.Module { return new(RedisStore) }}
}

// Provision reads the URLs and fills in what comes from the environment and files. It
// connects to nothing.
func (s *RedisStore) Provision(caddy.Context) error {
	o, secure, err := s.fill(caddy.NewReplacer())
	if err != nil {
		return err
	}
	if secure {
		if o.TLS, err = s.TLS.compile(); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	s.options = o
	s.address, err = s.makeAddress()
	return err
}

// fill makes options of what is said, but for files, and reports whether TLS is wanted.
func (s *RedisStore) fill(repl *caddy.Replacer) (o redisstore.Options, secure bool, err error) {
	o = redisstore.Options{Mode: redisstore.Mode(cmp.Or(s.Mode, string(redisstore.Single))), Copies: s.MinReplicasAck}
	urls := make([]string, len(s.URLs))
	for i := range s.URLs {
		if urls[i], err = repl.ReplaceOrErr(s.URLs[i], true, true); err != nil {
			return o, false, fmt.Errorf("url %d: %w", i+1, err)
		}
	}
	if secure, err = readURLs(urls, &o); err != nil {
		return o, false, err
	}
	for _, text := range []struct {
		name, written string
		to            *string
	}{
		{"master", s.Master, &o.Master}, {"username", s.Username, &o.Username}, {"password", s.Password, &o.Password},
		{"sentinel_username", s.SentinelUsername, &o.SentinelUsername}, {"sentinel_password", s.SentinelPassword, &o.SentinelPassword},
		{"prefix", s.Prefix, &o.Prefix},
	} {
		filled, err := repl.ReplaceOrErr(text.written, true, true)
		if err != nil {
			return o, false, fmt.Errorf("%s: %w", text.name, err)
		}
		*text.to = cmp.Or(strings.TrimRight(filled, "\r\n"), *text.to) // files end with a line feed
	}
	if s.TLS != nil && !secure {
		return o, false, errors.New("tls: the URLs say that there is none; write rediss:// for redis://")
	}
	return o, secure, o.Complete()
}

// readURLs fills in what URLs say and reports whether they want TLS. They can differ in
// their hosts only.
func readURLs(urls []string, o *redisstore.Options) (secure bool, err error) {
	if len(urls) == 0 {
		return false, errors.New("url: missing; write for example `store redis redis://redis.internal:6379`")
	}
	for i, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "redis" && u.Scheme != "rediss" || u.RawQuery != "" || u.Fragment != "" {
			return false, fmt.Errorf("url %d: it is not of the form redis://[user@]host[:port][/database], or rediss:// with TLS", i+1) // it may hold a password
		}
		database := 0
		if path := strings.Trim(u.Path, "/"); path != "" {
			if database, err = strconv.Atoi(path); err != nil || database < 0 {
				return false, fmt.Errorf("url %d: the database %q is no number", i+1, path)
			}
		}
		password, _ := u.User.Password()
		if i > 0 && (u.Scheme == "rediss" != secure || database != o.Database || u.User.Username() != o.Username || password != o.Password) {
			return false, errors.New("url: all of them need the same scheme, user and database")
		}
		secure = u.Scheme == "rediss"
		o.Database, o.Username, o.Password = database, u.User.Username(), password
		usual := "6379"
		if o.Mode == redisstore.Sentinel {
			usual = "26379"
		}
		o.Addrs = append(o.Addrs, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), usual)))
	}
	return secure, nil
}

// compile reads the files.
func (t *RedisTLS) compile() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return c, nil
	}
	c.ServerName = t.ServerName
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: there is no certificate in %s", t.CA)
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		return nil, errors.New("certificate: it needs its key, and the key its certificate")
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// addressSeed keeps credentials out of addresses, which are logged, and lets other ones
// make another address.
var addressSeed = maphash.MakeSeed()

// makeAddress names the store by all that is said of it: a config with another password
// connects anew, and takes over what the one before gives back.
func (s *RedisStore) makeAddress() (string, error) {
	said, err := json.Marshal([]any{s.options.Username, s.options.Password, s.options.SentinelUsername, s.options.SentinelPassword, s.TLS, s.MinReplicasAck, s.options.TLS != nil})
	if err != nil {
		return "", fmt.Errorf("naming the store: %w", err)
	}
	return fmt.Sprintf("redis:%s:%s:%s/%d/%s#%x", s.options.Mode, s.options.Master, strings.Join(s.options.Addrs, ","),
		s.options.Database, s.options.Prefix, maphash.Bytes(addressSeed, said)), nil
}

// Address is where Redis is, and what else makes it another store.
func (s *RedisStore) Address() string { return s.address }

// openTimeout bounds a try to connect: a start of Caddy waits for the first.
const openTimeout = 4 * time.Second

func (s *RedisStore) Open(log *slog.Logger) (store.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	o := s.options
	o.Logger = log
	return redisstore.Open(ctx, o)
}

// NeedsSecret says why the secret that is made at the first start will not do.
func (*RedisStore) NeedsSecret() string {
	return "several machines that share a Redis need the same one"
}

// UnmarshalCaddyfile parses the store's arguments. Syntax:
//
//	store redis <urls...> {
//	    mode              single|sentinel|cluster
//	    master            <name>
//	    username          <user>
//	    password          <password>
//	    sentinel_username <user>
//	    sentinel_password <password>
//	    prefix            <text>
//	    min_replicas_ack  <number>
//	    tls {
//	        ca          <file>
//	        certificate <file> <key file>
//	        server_name <name>
//	    }
//	}
func (s *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if s.URLs = d.RemainingArgs(); len(s.URLs) == 0 {
		return d.Err("store redis: missing; write for example `store redis redis://redis.internal:6379`")
	}
	err := block{
		"mode":              s.parseMode,
		"master":            textTo(&s.Master),
		"username":          textTo(&s.Username),
		"password":          textTo(&s.Password),
		"sentinel_username": textTo(&s.SentinelUsername),
		"sentinel_password": textTo(&s.SentinelPassword),
		"prefix":            textTo(&s.Prefix),
		"min_replicas_ack":  countTo(&s.MinReplicasAck),
		"tls":               s.parseTLS,
	}.parse(d, "store redis")
	said := strings.Join(append(s.URLs, s.Master, s.Username, s.Password, s.SentinelUsername, s.SentinelPassword, s.Prefix), "")
	if err != nil || strings.Contains(said, "{") {
		return err // it is known when it is filled in
	}
	if _, _, err := s.fill(caddy.NewEmptyReplacer()); err != nil {
		return d.Errf("store redis: %w", err)
	}
	return nil
}

func (s *RedisStore) parseMode(d *caddyfile.Dispenser) error {
	if err := textTo(&s.Mode)(d); err != nil {
		return err
	}
	switch redisstore.Mode(s.Mode) {
	case redisstore.Single, redisstore.Sentinel, redisstore.Cluster:
		return nil
	}
	return d.Errf("mode: unknown %q; known are: single, sentinel, cluster", s.Mode)
}

func (s *RedisStore) parseTLS(d *caddyfile.Dispenser) error {
	s.TLS = new(RedisTLS)
	return block{
		"ca": textTo(&s.TLS.CA),
		"certificate": func(d *caddyfile.Dispenser) error {
			if !d.Args(&s.TLS.Certificate, &s.TLS.Key) || d.NextArg() {
				return d.Err("certificate: write the file of the certificate and that of its key")
			}
			return nil
		},
		"server_name": textTo(&s.TLS.ServerName),
	}.parse(d, "tls")
}

var (
	_ StoreOpener           = (*RedisStore)(nil)
	_ caddy.Provisioner     = (*RedisStore)(nil)
	_ caddyfile.Unmarshaler = (*RedisStore)(nil)
	_ sharedStore           = (*RedisStore)(nil)
)

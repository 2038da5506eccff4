package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What is written down in the server about how intents are kept there. Whoever finds
// something else does not touch it.
const schema = "1"

// inspect refuses a server that would lose intents, and says what its settings mean.
func (s *Store) inspect(ctx context.Context, prefix string) error {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return err
	}
	info, err := s.info(ctx)
	if err != nil {
		s.log.Warn("Redis does not let us look at its settings: that it evicts nothing and keeps intents on disk is not verified", "err", err)
	} else if err := s.judge(ctx, info); err != nil {
		return err
	}
	if err := s.lookAtClock(ctx); err != nil {
		return err
	}
	return s.agree(ctx, prefix+"meta")
}

// info reads what a server tells of itself.
func (s *Store) info(ctx context.Context) (map[string]string, error) {
	text, err := s.client.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info, nil
}

func (s *Store) judge(ctx context.Context, info map[string]string) error {
	if err := s.judgeVersion(info["redis_version"]); err != nil {
		return err
	}
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		return fmt.Errorf("its maxmemory-policy is %s, so it throws intents away when its memory is full; set it to noeviction", policy)
	}
	fsync := "unknown"
	if got, err := s.client.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		fsync = got["appendfsync"]
	}
	switch {
	case info["aof_enabled"] != "1":
		s.log.Warn("Redis keeps no append-only file: accepted intents are lost when it stops; set appendonly yes")
	case fsync == "no":
		s.log.Warn("Redis leaves it to its system when to sync its append-only file: a power cut can lose accepted intents of half a minute; set appendfsync everysec or always")
	case fsync == "always":
		s.log.Info("Redis syncs each change to disk: accepted intents survive a power cut")
	case fsync == "everysec":
		s.log.Info("Redis syncs to disk every second: accepted intents survive its crash, and all but those of the last second a power cut")
	default:
		s.log.Info("how often Redis syncs to disk could not be verified")
	}
	return nil
}

// judgeVersion wants ZRANGE BYSCORE, which 6.2 brought, and in a cluster SPUBLISH, which
// 7.0 did.
func (s *Store) judgeVersion(version string) error {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, err := strconv.Atoi(major)
	y, err2 := strconv.Atoi(minor)
	switch {
	case errors.Join(err, err2) != nil:
		return fmt.Errorf("its version %q cannot be read", version)
	case s.cluster && x < 7:
		return fmt.Errorf("it is of version %s, and a cluster needs 7.0", version)
	case x < 6 || x == 6 && y < 2:
		return fmt.Errorf("it is of version %s and needs 6.2", version)
	}
	return nil
}

// agree writes down how intents are kept, or compares it with what was written.
func (s *Store) agree(ctx context.Context, key string) error {
	for _, want := range [][2]string{{"schema", schema}, {"shards", strconv.Itoa(len(tags))}} {
		if err := s.client.HSetNX(ctx, key, want[0], want[1]).Err(); err != nil {
			return err
		}
		got, err := s.client.HGet(ctx, key, want[0]).Result()
		if err != nil {
			return err
		}
		if got != want[1] {
			return fmt.Errorf("intents are kept there with %s %s, and this release knows %s: use the release that made them, or another prefix", want[0], got, want[1])
		}
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// samples are those of CPU profiles of Caddys, counted by what they were about.
type samples struct {
	all      int
	through  int // that have the store's meter somewhere on their stack
	metering int // in which it was counted or timed
}

// Names of functions, as profiles have them.
const (
	ownCode    = "github.com/caddy-intents/caddy-intents/"
	storeMeter = ownCode + "caddymodule.meteredStore."
)

// meters are whose functions, and what these call of other modules, the metrics are.
var meters = []string{storeMeter, ownCode + "caddymodule.(*metrics).", ownCode + "caddymodule.reasonOf", ownCode + "engine.(*Engine).measure"}

// read adds the samples of a profile.
func (s *samples) read(ctx context.Context, path string) error {
	text, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", "-sample_index=samples", path).Output()
	if err != nil {
		return fmt.Errorf("reading the profile %s: %w", path, err)
	}
	return s.parse(string(text))
}

// parse reads what `go tool pprof -traces` prints: stacks between rulers, each a number
// of samples and the names of functions, the innermost first.
func (s *samples) parse(text string) error {
	_, text, _ = strings.Cut(text, "\n-----------+") // behind the head
	for stack := range strings.SplitSeq(text, "\n-----------+") {
		_, stack, _ = strings.Cut(stack, "\n") // behind the ruler
		fields := strings.Fields(stack)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			return fmt.Errorf("reading a stack of a profile: %w", err)
		}
		s.add(n, fields[1:])
	}
	return nil
}

// add counts samples of one stack. What the store does for its meter is not the meter's:
// the innermost function of ours decides.
func (s *samples) add(n int, stack []string) {
	s.all += n
	if slices.ContainsFunc(stack, func(f string) bool { return strings.HasPrefix(f, storeMeter) }) {
		s.through += n
	}
	innermost := slices.IndexFunc(stack, func(f string) bool { return strings.HasPrefix(f, ownCode) })
	if innermost >= 0 && slices.ContainsFunc(meters, func(m string) bool { return strings.HasPrefix(stack[innermost], m) }) {
		s.metering += n
	}
}

// Command bench measures the budgets of docs/performance.md and prints PASS or
// FAIL for each, beside a baseline that is measured in the same run. It exits with
// 1 if one failed.
//
//	go run ./bench                      all of them, a few minutes
//	go run ./bench -only submit,poll    some of them
//	go run ./bench -scale 0.1           a tenth of the sizes, to see that it works
//	go run ./bench -profile profiles    with CPU and heap profiles of every process
//
// What is compared is never a time alone: machines differ, and this one may be
// doing other things. Rounds of the one and the other take turns, or both run at
// once, and the median of the rounds' ratios counts.
//
// Servers run in processes of their own, which are this program under another
// role (process.go), so that their CPU time and memory can be read from /proc:
// it needs Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// A budget is one promise about what something costs.
type budget struct {
	name    string
	measure func(ctx context.Context, b *bench) error
}

var budgets = []budget{
	{"submit", measureSubmit},
	{"poll", measurePoll},
	{"reading", measureReading},
	{"offload", measureOffload},
	{"batch", measureBatch},
	{"latency", measureLatency},
	{"fanout", measureFanOut},
	{"observers", measureObservers},
	{"active", measureActive},
	{"tick", measureTick},
	{"requests", measureRequests},
	{"list", measureList},
	{"metrics", measureMetrics},
	{"redis", measureRedis},
}

// A bench is one run of the program.
type bench struct {
	scale   float64
	rounds  int
	random  *rand.Rand
	dir     string // for stores and configs
	profile string // a directory for profiles; "" for none
	results []result
}

func main() {
	if play, ok := roles[os.Getenv(roleVariable)]; ok {
		exit(play(os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	switch {
	case err == nil:
		os.Exit(0)
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	}
	warn("bench", err)
	os.Exit(1)
}

// warn does not use package log, whose output Caddy takes over.
func warn(what string, err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", what, err) }

var errFailed = errors.New("a budget is not kept")

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var names []string
	for _, bu := range budgets {
		names = append(names, bu.name)
	}
	only := flags.String("only", strings.Join(names, ","), "which budgets to measure")
	scale := flags.Float64("scale", 1, "factor for the sizes; the budgets are about 1")
	rounds := flags.Int("rounds", 5, "how many rounds the median is taken of")
	seed := flags.Uint64("seed", 1, "of everything random")
	profile := flags.String("profile", "", "a directory for CPU and heap profiles")
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp
	}
	dir, err := os.MkdirTemp("", "intents-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if *profile != "" {
		if err := os.MkdirAll(*profile, 0o755); err != nil {
			return err
		}
	}
	b := &bench{scale: *scale, rounds: max(*rounds, 1), random: rand.New(rand.NewPCG(*seed, 0)), dir: dir, profile: *profile}
	fmt.Printf("%s %s/%s, %d CPUs, seed %d, scale %g, median of %d rounds\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *seed, *scale, b.rounds)
	for name := range strings.SplitSeq(*only, ",") {
		at := slices.Index(names, name)
		if at < 0 {
			return fmt.Errorf("there is no budget %q; there are: %s", name, strings.Join(names, ", "))
		}
		if err := b.measure(ctx, budgets[at]); err != nil {
			return fmt.Errorf("measuring %s: %w", name, err)
		}
	}
	fmt.Println()
	printTable(os.Stdout, b.results)
	if slices.ContainsFunc(b.results, func(r result) bool { return !r.kept() }) {
		return errFailed
	}
	return nil
}

// measure runs one budget, which adds its results.
func (b *bench) measure(ctx context.Context, bu budget) error {
	stop, err := b.profileSelf(bu.name)
	if err != nil {
		return err
	}
	defer stop()
	begun := time.Now()
	if err := bu.measure(ctx, b); err != nil {
		return err
	}
	fmt.Printf("%-10s took %s\n", bu.name, time.Since(begun).Round(time.Second))
	return nil
}

func (b *bench) profileSelf(name string) (stop func(), err error) {
	if b.profile == "" {
		return func() {}, nil
	}
	return profileTo(filepath.Join(b.profile, name+".cpu"))
}

// profileTo writes a CPU profile of this process until it is stopped.
func profileTo(path string) (stop func(), err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := file.Close(); err != nil {
			warn("writing a profile", err)
		}
	}, nil
}

// sized is a size of the budget, scaled.
func (b *bench) sized(n int) int { return max(1, int(float64(n)*b.scale)) }

// about prints what is going to be measured, and how.
func (b *bench) about(name, format string, args ...any) {
	fmt.Printf("%-10s %s\n", name, fmt.Sprintf(format, args...))
}

// path is a file of this run.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func printTable(w io.Writer, results []result) {
	rows := [][]string{{"budget", "ours", "baseline", "ratio", "limit", ""}}
	for _, r := range results {
		rows = append(rows, r.row())
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(w, "%-*s  ", widths[i], cell)
		}
		fmt.Fprintln(w)
	}
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// roleVariable in the environment makes this program something else: one of the
// processes that it measures.
const roleVariable = "INTENTS_BENCH_ROLE"

// profileVariable tells a process where its profiles go.
const profileVariable = "INTENTS_BENCH_PROFILE"

var roles = map[string]func(args []string) error{
	"caddy":  playCaddy,
	"fill":   profiled(playFill),
	"active": profiled(playActive),
	"tick":   profiled(playTick),
}

// A process is this program in another role. It is asked by a line on its standard
// input and answers with a line of JSON.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a process; its end is stop, or that of ctx.
func (b *bench) start(ctx context.Context, name, role string, args ...string) (*process, error) {
	p, err := b.command(ctx, name, role, args...)
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (b *bench) command(ctx context.Context, name, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(),
		roleVariable+"="+role,
		"XDG_DATA_HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir) // Caddy must not touch what the user of this machine has
	if b.profile != "" {
		cmd.Env = append(cmd.Env, profileVariable+"="+filepath.Join(b.profile, name))
	}
	return &process{cmd: cmd}, nil
}

// ask sends a line and reads the answer.
func (p *process) ask(question string, answer any) error {
	if _, err := io.WriteString(p.in, question+"\n"); err != nil {
		return err
	}
	return p.read(answer)
}

func (p *process) read(answer any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading a process's answer: %w", err)
	}
	return json.Unmarshal(line, answer)
}

// stop lets a process end, which it does at the end of its input.
func (p *process) stop() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}

// kill ends a process that does not listen.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // says that it was killed
}

// answer is the other end of ask.
func answer(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// profiled makes a role write a CPU profile of itself, if one is wanted.
func profiled(play func(args []string) error) func(args []string) error {
	return func(args []string) error {
		path := os.Getenv(profileVariable)
		if path == "" {
			return play(args)
		}
		stop, err := profileTo(path + ".cpu")
		if err != nil {
			return err
		}
		defer stop()
		return play(args)
	}
}

// clockTick is the unit of CPU times in /proc; Linux has had no other for decades
// on any machine that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the time that a process has spent on CPUs, for itself and in the kernel.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // behind the name, which may hold spaces
	fields := strings.Fields(rest)
	var ticks time.Duration
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * clockTick, nil
}

// memory is what a process has in memory for itself, in bytes; pages of files, which
// the kernel takes back when it needs them, are not counted.
func (p *process) memory() (int, error) { return kilobytes(p.proc("status"), "RssAnon:") }

func (p *process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

// anonymous is the memory of this process.
func anonymous() (int, error) { return kilobytes("/proc/self/status", "RssAnon:") }

// kilobytes reads a line "<key> <n> kB".
func kilobytes(path, key string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key {
			n, err := strconv.Atoi(fields[1])
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no line %q", path, key)
}

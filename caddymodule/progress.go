package caddymodule

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/probe"
)

// A progress shows one line for each of some intents: on a terminal the lines are
// rewritten, anywhere else a line is written for each change.
type progress struct {
	w     io.Writer
	live  bool
	order []string
	lines map[string]string
	drawn int // lines that stand on the terminal
}

// maxLive bounds the lines that are rewritten: those that are changed last stay.
const maxLive = 20

func newProgress(w io.Writer) *progress {
	return &progress{w: w, live: isTerminal(w), lines: make(map[string]string)}
}

// set shows how an intent stands.
func (p *progress) set(v *row, now time.Time) {
	id := v.IntentID.String()
	line := v.line(now)
	before, known := p.lines[id]
	if known && before == line {
		return
	}
	p.lines[id] = line
	if !p.live {
		fmt.Fprintf(p.w, "%s  %s\n", now.Format("15:04:05"), line)
		return
	}
	if !known {
		p.order = append(p.order, id)
		if len(p.order) > maxLive {
			delete(p.lines, p.order[0])
			p.order = p.order[1:]
		}
	}
	p.draw()
}

// draw rewrites the lines: up to the first, and each anew to its end.
func (p *progress) draw() {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	for _, id := range p.order {
		fmt.Fprintf(&b, "\r\x1b[2K%s\n", p.lines[id])
	}
	p.drawn = len(p.order)
	_, _ = io.WriteString(p.w, b.String())
}

// line is a row in one line, of which none is longer than a terminal is wide.
func (v *row) line(now time.Time) string {
	bar := ""
	if v.Progress != nil {
		const width = 20
		done := min(max(int(*v.Progress*width/100), 0), width)
		bar = "[" + strings.Repeat("#", done) + strings.Repeat("-", width-done) + "] "
	}
	percent := strings.TrimPrefix(v.percent(), "-")
	if v.Status == intent.Completed {
		bar, percent = "", ""
	}
	head := fmt.Sprintf("%s  ", v.IntentID)
	if v.Job != "" {
		head += v.jobName() + "  "
	}
	head += fmt.Sprintf("%-11s  ", v.Status)
	return strings.TrimRight(head+bar+probe.Fit(strings.TrimSpace(percent+"  "+v.note(now)), 60), " ")
}

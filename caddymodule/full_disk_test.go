//go:build e2e && linux

package caddymodule_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// A disk is a small one of its own, in memory, for the store of a test.
type disk struct {
	t   *testing.T
	dir string
}

const diskSize = 24 << 20

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{t: t, dir: t.TempDir()}
	err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size=24m")
	require.NoError(t, err, "mounting a small disk; run this test as root, for example in a container with --privileged")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(d.dir, 0)) })
	return d
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes up to n bytes of the room that is left, and reports whether there is
// none any more.
func (d *disk) fill(n int) (full bool) {
	d.t.Helper()
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(d.t, err)
	defer f.Close()
	for block := make([]byte, 4096); n > 0; n -= len(block) {
		if _, err := f.Write(block); err != nil {
			require.ErrorIs(d.t, err, syscall.ENOSPC)
			return true
		}
	}
	return false
}

func (d *disk) empty() {
	d.t.Helper()
	if err := os.Remove(d.filler()); !errors.Is(err, os.ErrNotExist) {
		require.NoError(d.t, err)
	}
}

// TestAFullDiskCostsIntentsOnlyAndHeals fills the disk of a real Caddy's store again
// and again, at once or slowly, kills it now and then in the middle, and makes room.
func TestAFullDiskCostsIntentsOnlyAndHeals(t *testing.T) {
	begun := time.Now()
	random := rand.New(rand.NewPCG(soak.Seed(t), 0))
	cycles := soak.Number(t, "INTENTS_DISK_CYCLES", 4)
	d := newDisk(t)
	p := newPressed(t)
	p.store = filepath.Join(d.dir, "data", "intents.db")
	p.configure(report)
	d.fill(diskSize) // already full when it begins
	p.Start()
	require.Empty(t, p.oldClient())
	slow, killed := 0, 0
	for range cycles {
		d.empty()
		p.heals()
		watched := p.watch()
		if random.IntN(2) == 0 {
			slow++
			p.fillSlowly(d, random)
		}
		d.fill(diskSize)
		p.fullToTheEnd()
		watched.goesOn()
		kill := random.IntN(4) == 0
		if kill {
			killed++
			p.Kill()
			p.Start()
			p.oldClient()
		}
		p.alive()
		d.empty()
		p.heals()
		watched.ends(kill)
	}
	p.ends()
	p.audit()
	t.Logf("%d cycles, %d of them slow, %d with a kill; %d intents acknowledged, %d submits passed through, in %s",
		cycles, slow, killed, len(p.acked), p.passed, time.Since(begun).Round(time.Second))
}

// fillSlowly takes the room bit by bit while clients go on.
func (p *pressed) fillSlowly(d *disk, random *rand.Rand) {
	d.fill(diskSize - 1<<20 - p.used())
	for !d.fill(4096 * (1 + random.IntN(40))) {
		p.oldClient()
	}
}

// used is the room that the store takes, which is less than its length.
func (p *pressed) used() int {
	var stat syscall.Stat_t
	require.NoError(p.t, syscall.Stat(p.store, &stat))
	return int(stat.Blocks * 512)
}

// fullToTheEnd has clients submit until the store has no room left within its file
// either.
func (p *pressed) fullToTheEnd() {
	p.t.Helper()
	for begun := time.Now(); p.oldClient() != ""; {
		require.Less(p.t, time.Since(begun), patience, "a full disk takes everything")
	}
	require.Equal(p.t, http.StatusOK, p.code("/v1/intents/"+p.acked[0]), "what is stored can be read")
	require.Contains(p.t, p.Log.String(), "make room on its disk")
}

// A watched is an intent that is observed while its store is in trouble.
type watched struct {
	p     *pressed
	jobID string
	id    string
	seen  *observer
}

// watch submits a job that does not end by itself, and observes it.
func (p *pressed) watch() *watched {
	p.t.Helper()
	id, jobID := p.post("watched")
	require.NotEmpty(p.t, id)
	p.backend.Says(jobID, "running", 10)
	w := &watched{p: p, jobID: jobID, id: id, seen: p.observe(id)}
	w.seen.until(intent.InProgress)
	return w
}

// goesOn asserts that events that are stored already reach a new observer, and has
// the job end.
func (w *watched) goesOn() {
	w.p.t.Helper()
	w.p.observe(w.id).until(intent.InProgress)
	w.p.backend.Finishes(w.jobID)
	require.Equal(w.p.t, "done", w.p.eventually(w.jobID, "done"))
}

// ends reads the stream on to the end, from where it was if a kill has cut it. Nothing
// else may.
func (w *watched) ends(killed bool) {
	w.p.t.Helper()
	for {
		e, err := w.seen.tryNext()
		if err != nil {
			require.True(w.p.t, killed, "the stream was cut after %d: %v", w.seen.seq, err)
			seq := w.seen.seq
			w.seen = w.p.observe(w.id, "Last-Event-ID", strconv.FormatInt(seq, 10))
			w.seen.seq = seq
			continue
		}
		if e.Status.Terminal() {
			require.Equal(w.p.t, intent.Completed, e.Status)
			return
		}
	}
}

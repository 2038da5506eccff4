//go:build e2e && interop

package main

import "testing"

// TestForeignClientsTakeADrainForACutAndTheEndForTheEnd needs the packages that `make
// interop` installs.
func TestForeignClientsTakeADrainForACutAndTheEndForTheEnd(t *testing.T) {
	for name, command := range map[string][]string{
		"eventsource":        {"node", "interop/eventsource.mjs"},
		"go-sse":             {"interop/go-sse"},
		"fetch-event-source": {"node", "interop/fetch-event-source.mjs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			c := f.run(t, command, "{}")
			c.sees("IN_PROGRESS")
			f.Terminate()
			<-f.Exited
			f.backend.Says(f.backend.Jobs()[0].ID, "running", 50)
			f.Start()
			c.sees("IN_PROGRESS")
			f.backend.Says(f.backend.Jobs()[0].ID, "done", 100)
			c.sees("COMPLETED")
			c.exits(0)
		})
	}
}

package intent_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// An arrow of the state diagram; "" is where an intent comes from and, behind a
// final status, where it goes.
type arrow struct{ from, to intent.Status }

func TestDiagramDrawsEveryArrow(t *testing.T) {
	doc, err := os.ReadFile("../docs/states.md")
	require.NoError(t, err)
	require.ElementsMatch(t, arrowsOfTable(), arrowsOfDiagram(t, string(doc)))
}

func TestDiagramParserSeesAMissingAndAForeignArrow(t *testing.T) {
	doc, err := os.ReadFile("../docs/states.md")
	require.NoError(t, err)
	missing := strings.Replace(string(doc), "    CREATED --> FAILED\n", "", 1)
	require.NotEqual(t, string(doc), missing)
	require.Len(t, arrowsOfDiagram(t, missing), len(arrowsOfTable())-1)
	foreign := strings.Replace(string(doc), "CREATED --> FAILED\n", "CREATED --> COMPLETED\n", 1)
	require.Contains(t, arrowsOfDiagram(t, foreign), arrow{intent.Created, intent.Completed})
}

func arrowsOfTable() []arrow {
	var arrows []arrow
	for _, from := range append(intent.Statuses(), "") {
		for _, to := range intent.Statuses() {
			if from.Precedes(to) {
				arrows = append(arrows, arrow{from, to})
			}
		}
		if from.Terminal() {
			arrows = append(arrows, arrow{from, ""})
		}
	}
	return arrows
}

var mermaidArrow = regexp.MustCompile(`(?m)^\s*(\S+) --> (\S+)(?: : .*)?$`)

func arrowsOfDiagram(t *testing.T, doc string) []arrow {
	t.Helper()
	_, diagram, found := strings.Cut(doc, "```mermaid\nstateDiagram-v2\n")
	require.True(t, found, "no Mermaid state diagram")
	diagram, _, found = strings.Cut(diagram, "```")
	require.True(t, found, "the diagram has no end")
	var arrows []arrow
	for _, m := range mermaidArrow.FindAllStringSubmatch(diagram, -1) {
		arrows = append(arrows, arrow{node(m[1]), node(m[2])})
	}
	require.Len(t, arrows, strings.Count(diagram, "-->"), "an arrow is written in a way this test cannot read")
	return arrows
}

func node(name string) intent.Status { return intent.Status(strings.TrimSuffix(name, "[*]")) }

func TestOnlyTheLastFourStatusesAreFinal(t *testing.T) {
	for _, s := range intent.Statuses() {
		final := s == intent.Completed || s == intent.Failed || s == intent.Canceled || s == intent.TimedOut
		require.Equal(t, final, s.Terminal(), s)
	}
	require.False(t, intent.Status("").Terminal(), "a reservation has not ended")
	require.False(t, intent.Status("BOGUS").Terminal(), "an unknown word ends nothing")
}

// TestNoStepLeavesTheTable calls every step in every status.
func TestNoStepLeavesTheTable(t *testing.T) {
	steps := map[string]func(*life) []intent.Event{
		"begin":   func(l *life) []intent.Event { return l.happens(l.in.Begin(l.now)) },
		"deliver": func(l *life) []intent.Event { return l.happens(l.in.Deliver(intent.Delivery{JobID: "1"}, l.now)) },
		"wait":    func(l *life) []intent.Event { return l.waits("backend") },
	}
	for _, s := range []intent.Status{intent.InProgress, intent.Completed, intent.Failed, intent.Canceled, intent.TimedOut} {
		steps["read "+string(s)] = func(l *life) []intent.Event { return l.reads(intent.Reading{Status: s, Message: "x"}) }
	}
	for _, s := range []intent.Status{intent.Failed, intent.Canceled, intent.TimedOut} {
		steps["end "+string(s)] = func(l *life) []intent.Event { return l.ends(s, nil) }
	}
	for name, step := range steps {
		for _, from := range append(intent.Statuses(), "") {
			l := at(t, from)
			status, seq := l.in.Status, l.in.Seq
			for _, e := range step(l) {
				require.True(t, status.Precedes(e.Status), "%s in %q led to %q", name, status, e.Status)
				require.Equal(t, seq+1, e.Seq, "%s in %q", name, from)
				status, seq = e.Status, e.Seq
			}
			require.Equal(t, status, l.in.Status, "%s in %q", name, from)
			require.Equal(t, seq, l.in.Seq, "%s in %q", name, from)
		}
	}
}

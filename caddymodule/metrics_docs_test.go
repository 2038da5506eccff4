package caddymodule

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A shown metric is one that the registry has: its labels, by its name. A histogram is
// there by the names that are asked for.
type shown map[string][]string

var description = regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([a-z_,]*)\}`)

// shownMetrics are those that a config registers, by name, and those that can be asked for.
func shownMetrics(t *testing.T) (metrics, series shown) {
	t.Helper()
	metrics, series = make(shown), make(shown)
	for _, c := range append(newMetrics().collectors(), census{}) {
		descs := make(chan *prometheus.Desc, 100) // more than one collector has
		c.Describe(descs)
		close(descs)
		for d := range descs {
			parts := description.FindStringSubmatch(d.String())
			require.NotNil(t, parts, d.String())
			name, labels := parts[1], strings.FieldsFunc(parts[2], func(r rune) bool { return r == ',' })
			metrics[name], series[name] = labels, labels
			if isHistogram(c) {
				series[name+"_bucket"], series[name+"_sum"], series[name+"_count"] = append(slices.Clone(labels), "le"), labels, labels
			}
		}
	}
	return metrics, series
}

func isHistogram(c prometheus.Collector) bool {
	if _, ok := c.(*prometheus.HistogramVec); ok {
		return true
	}
	_, ok := c.(prometheus.Histogram)
	return ok
}

func TestEveryMetricIsDocumentedWithItsLabels(t *testing.T) {
	metrics, _ := shownMetrics(t)
	page, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	documented := make(shown)
	for _, row := range regexp.MustCompile("(?m)^\\| `(caddy_intents_[a-z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = strings.Fields(strings.ReplaceAll(row[2], "`", ""))
	}
	for name, labels := range metrics {
		require.Contains(t, documented, name, "docs/operations.md has no row for it")
		require.ElementsMatch(t, labels, documented[name], name)
	}
	for name := range documented {
		require.Contains(t, metrics, name, "docs/operations.md tells of what there is not")
	}
}

func TestEveryAlertAsksForMetricsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../docs/alerts.yaml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &rules))
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			requireKnown(t, r.Alert, r.Expr)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			n++
		}
	}
	require.Positive(t, n)
}

func TestEveryPanelAsksForMetricsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../docs/grafana.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	var asked strings.Builder
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			requireKnown(t, p.Title, target.Expr)
			asked.WriteString(target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Definition != "" {
			requireKnown(t, v.Name, v.Definition)
		}
	}
	metrics, _ := shownMetrics(t)
	for name := range metrics {
		require.Contains(t, asked.String(), name, "no panel shows it")
	}
}

var (
	selector = regexp.MustCompile(`(caddy_intents_[a-z_]+)(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|ignoring)\s*\(([^)]*)\)`)
)

// requireKnown asserts that a query asks for series that there are, by labels that they
// have. What is grouped by has to be a label of each of them.
func requireKnown(t *testing.T, where, query string) {
	t.Helper()
	_, series := shownMetrics(t)
	found := selector.FindAllStringSubmatch(query, -1)
	require.NotEmpty(t, found, "%s asks for nothing of ours: %s", where, query)
	var grouped []string
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		grouped = append(grouped, strings.FieldsFunc(g[1], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	for _, f := range found {
		labels, ok := series[f[1]]
		require.True(t, ok, "%s asks for %s, which there is not", where, f[1])
		for _, m := range matcher.FindAllStringSubmatch(f[2], -1) {
			require.Contains(t, labels, m[1], "%s: %s has no such label", where, f[1])
		}
		for _, label := range grouped {
			require.Contains(t, labels, label, "%s: %s cannot be grouped so", where, f[1])
		}
	}
}

func TestAQueryForWhatThereIsNotIsFound(t *testing.T) {
	_, series := shownMetrics(t)
	require.NotContains(t, series, "caddy_intents_active_bucket")
	require.NotContains(t, series["caddy_intents_polls_total"], "status")
	require.Equal(t, []string{"scope", "job", "le"}, series["caddy_intents_poll_duration_seconds_bucket"])
}

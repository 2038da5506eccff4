package main

import (
	"fmt"
	"slices"
	"time"
)

// A result is one line of the table: a ratio, where it comes from, and what it has
// to be.
type result struct {
	what           string
	ours, baseline string // in words, with units
	ratio          float64
	limit          float64
	least          bool // the ratio has to be at least the limit, instead of at most
}

func (r result) kept() bool {
	if r.least {
		return r.ratio >= r.limit
	}
	return r.ratio <= r.limit
}

func (r result) row() []string {
	sign, verdict := "<=", "PASS"
	if r.least {
		sign = ">="
	}
	if !r.kept() {
		verdict = "FAIL"
	}
	return []string{r.what, r.ours, r.baseline, ratioText(r.ratio), sign + " " + ratioText(r.limit), verdict}
}

// ratioText has two digits that count.
func ratioText(r float64) string {
	if r < 0.1 {
		return fmt.Sprintf("%.4f", r)
	}
	return fmt.Sprintf("%.2f", r)
}

// rounds collects what each round gave for us and for the baseline.
type rounds struct{ ours, baseline []float64 }

func (r *rounds) add(ours, baseline float64) {
	r.ours = append(r.ours, ours)
	r.baseline = append(r.baseline, baseline)
}

// ratio is the median of the rounds' ratios: what slows the machine down for longer
// than a round is on both sides of each.
func (r *rounds) ratio() float64 {
	ratios := make([]float64, len(r.ours))
	for i := range ratios {
		ratios[i] = r.ours[i] / r.baseline[i]
	}
	return median(ratios)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentile returns the value below which a part p of the values lies.
func percentile(values []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

func perJob(requests float64) string { return fmt.Sprintf("%.4f for each job", requests) }

func micros(ns float64) string { return fmt.Sprintf("%.0f us", ns/1e3) }

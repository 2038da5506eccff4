package adapter

import (
	"math"
)

// A progressReader is a compiled Progress.
type progressReader struct {
	percent  *expr
	fraction *expr
	done     *expr
	total    *expr
}

func (c *compiler) progress() error {
	p := c.spec.Progress
	if p == nil {
		return nil
	}
	forms := 0
	for _, used := range []bool{p.Percent != "", p.Fraction != "", p.Done != "" || p.Total != ""} {
		if used {
			forms++
		}
	}
	switch {
	case forms != 1:
		return specErr("progress", "has %d forms: write one of progress <percent>, progress fraction <0..1>, progress count <done> <total>", forms)
	case (p.Done == "") != (p.Total == ""):
		return specErr("progress", "count needs both numbers: write progress count <done> <total>")
	}
	r := &c.job.progress
	for _, part := range []struct {
		to  **expr
		src string
	}{{&r.percent, p.Percent}, {&r.fraction, p.Fraction}, {&r.done, p.Done}, {&r.total, p.Total}} {
		compiled, err := c.statusExpr("progress", part.src)
		if err != nil {
			return err
		}
		*part.to = compiled
	}
	return nil
}

// read gives percent, nil if the answer tells none.
func (r *progressReader) read(v *view) (*float64, error) {
	switch {
	case r.percent != nil:
		return scaled(r.percent, v, 1)
	case r.fraction != nil:
		return scaled(r.fraction, v, 100)
	case r.done != nil:
		return r.count(v)
	}
	p, _ := autoProgress(v)
	return p, nil
}

func scaled(e *expr, v *view, factor float64) (*float64, error) {
	value, err := e.eval(v)
	if f, ok := number(value); ok {
		return percent(f * factor), err
	}
	return nil, err
}

func (r *progressReader) count(v *view) (*float64, error) {
	done, err := r.done.eval(v)
	if err != nil {
		return nil, err
	}
	total, err := r.total.eval(v)
	return ratio(done, total), err
}

// ratio is percent of two counts, which some backends write as texts.
func ratio(done, total any) *float64 {
	d, okDone := number(done)
	t, okTotal := number(total)
	if !okDone || !okTotal || t <= 0 {
		return nil
	}
	return percent(100 * d / t)
}

// percent bounds f, and drops digits that say nothing.
func percent(f float64) *float64 {
	if math.IsNaN(f) {
		return nil
	}
	return new(math.Round(100*min(max(f, 0), 100)) / 100)
}

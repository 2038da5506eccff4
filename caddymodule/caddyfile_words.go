package caddymodule

import (
	"errors"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A line of a block is a word and what follows it. The functions below make parsers of
// lines that fill one field.

// flagTo takes a word that stands alone.
func flagTo(to *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if d.NextArg() {
			return d.Errf("%s: stands alone, and %q is too much; leave the line out to have it off", word, d.Val())
		}
		*to = true
		return nil
	}
}

// textTo takes one argument.
func textTo(to *string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if !d.NextArg() {
			return d.Errf("%s: its value is missing", word)
		}
		*to = d.Val()
		if d.NextArg() {
			return d.Errf("%s: takes one value, and %q is one more; put a value with spaces in backticks", word, d.Val())
		}
		return nil
	}
}

// listTo takes all arguments; want says what they are.
func listTo(to *[]string, want string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if *to = d.RemainingArgs(); len(*to) == 0 {
			return d.Errf("%s: missing; write %s", word, want)
		}
		return nil
	}
}

// parsed is textTo with a conversion; want says what a good value looks like.
func parsed[T any](to *T, want string, convert func(string) (T, error)) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word, text := d.Val(), ""
		if err := textTo(&text)(d); err != nil {
			return err
		}
		value, err := convert(text)
		if err != nil {
			return d.Errf("%s: %q is not %s", word, text, want)
		}
		*to = value
		return nil
	}
}

func durationTo(to *caddy.Duration) func(*caddyfile.Dispenser) error {
	return parsed(to, "a positive duration; write for example 500ms, 2s, 10m or 1d", parseDuration)
}

func parseDuration(s string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(s)
	if err == nil && d <= 0 {
		err = strconv.ErrRange
	}
	return caddy.Duration(d), err
}

func countTo(to *int) func(*caddyfile.Dispenser) error {
	return parsed(to, "a positive number", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err == nil && n <= 0 {
			err = strconv.ErrRange
		}
		return n, err
	})
}

func numberTo(to *float64) func(*caddyfile.Dispenser) error {
	return parsed(to, "a positive number", func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err == nil && !(n > 0 && n < 1e9) { // NaN compares false
			err = strconv.ErrRange
		}
		return n, err
	})
}

func sizeTo(to *int64) func(*caddyfile.Dispenser) error {
	return parsed(to, "a size; write for example 1MiB", func(s string) (int64, error) {
		n, err := humanize.ParseBytes(s)
		if err == nil && (n == 0 || n > 1<<30) {
			err = strconv.ErrRange
		}
		return int64(n), err
	})
}

func percentTo(to **float64) func(*caddyfile.Dispenser) error {
	return parsed(to, "a percentage; write for example 20%", func(s string) (*float64, error) {
		digits, ok := strings.CutSuffix(s, "%")
		if !ok {
			return nil, errors.New("no percent sign")
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err == nil && !(n >= 0 && n <= 100) { // NaN compares false
			err = strconv.ErrRange
		}
		n /= 100
		return &n, err
	})
}

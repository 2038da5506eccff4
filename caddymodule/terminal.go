package caddymodule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// What commands write is for a terminal or for programs. What a backend wrote in it must
// not move the cursor in either.

// addJSONFlag adds the flag by which a command prints JSON.
func addJSONFlag(cmd *cobra.Command) { cmd.Flags().Bool("json", false, "Print JSON") }

// wantsJSON reports whether a command is to print JSON.
func wantsJSON(cmd *cobra.Command) bool {
	asJSON, _ := cmd.Flags().GetBool("json")
	return asJSON
}

// printJSON writes JSON as a person reads it.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escapeControls(b.String()))
	return err
}

// escapeControls writes control characters in JSON as escapes, those too that JSON
// leaves as they are. Outside of texts it has only the white space that stays.
func escapeControls(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' || r > 0xffff {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// ago says how long ago something was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(now.Sub(t), 0)
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d/time.Hour), int(d/time.Minute)%60)
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + "d"
}

// ahead says how soon something will be.
func ahead(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if !t.After(now) {
		return "now"
	}
	return "in " + cmp.Or(ago(now.Add(-t.Sub(now)), now), "0s")
}

// maxShown bounds a line, since what a backend wrote stands in it.
const maxShown = 300

func quotedOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// printable reports whether a terminal shows a line as it is.
func printable(line string) bool {
	return strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0
}

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

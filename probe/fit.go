package probe

import (
	"fmt"
	"strings"
	"unicode"
)

// Fit puts a backend's text into a line of n characters: it may contain what moves
// a terminal's cursor.
func Fit(s string, n int) string {
	var b strings.Builder
	space := false
	for i, r := range strings.ToValidUTF8(s, "?") {
		switch {
		case b.Len() >= n:
			return b.String() + fmt.Sprintf("... (%d bytes)", len(s))
		case unicode.IsSpace(r):
			space = b.Len() > 0 && i < len(s)
			continue
		case !unicode.IsPrint(r):
			r = '?'
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

package adapter

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
)

const knownNames = "code, headers, body, text, params and request"

var (
	undeclared = regexp.MustCompile(`undeclared reference to '([^']*)'`)
	jsonPath   = regexp.MustCompile(`^\$(?:\.\w+|\[\d+\]|\['[^']*'\])+$`)
	dashedPath = regexp.MustCompile(`^(body|headers|request)((?:\.\w+)*)\.(\w+(?:-\w+)+)$`)
)

// explain makes one readable line of what CEL says about src, with what to write
// instead where the mistake is a common one.
func explain(src string, issues *cel.Issues) error {
	first := issues.Errors()[0]
	message, _, _ := strings.Cut(first.Message, "\n")
	if hint := hintFor(src, message); hint != "" {
		return errors.New(hint)
	}
	message, _, _ = strings.Cut(message, " expecting ") // a list of all tokens there are
	message = strings.Replace(message, "mismatched input '<EOF>'", "something is missing at the end", 1)
	message = strings.Replace(message, "Syntax error: ", "syntax error: ", 1)
	message = strings.Replace(message, " (in container '')", "", 1)
	column := first.Location.Column() + 1
	if first.Location.Line() > 1 {
		return fmt.Errorf("%q, line %d, column %d: %s", src, first.Location.Line(), column, message)
	}
	return fmt.Errorf("%q, column %d: %s", src, column, message)
}

func hintFor(src, message string) string {
	switch {
	case jsonPath.MatchString(src):
		return fmt.Sprintf("%q looks like JSONPath: write body%s", src, src[1:])
	case strings.HasPrefix(src, "$"):
		return fmt.Sprintf("%q looks like JSONPath, which is not spoken here: write body.a.b, and lists as body.a[0]", src)
	case strings.HasPrefix(src, "{") && !strings.Contains(src, ":"):
		return fmt.Sprintf("%q is a placeholder, and this is an expression: write body.<field>, headers.<name> or params.<name>", src)
	case dashedPath.MatchString(src):
		m := dashedPath.FindStringSubmatch(src)
		return fmt.Sprintf("%q reads as a subtraction: write %s%s[%q]", src, m[1], m[2], m[3])
	case strings.Contains(src, "==="):
		return fmt.Sprintf("%q: equality is written ==", src)
	}
	if m := undeclared.FindStringSubmatch(message); m != nil {
		name := strings.TrimPrefix(m[1], ".")
		return fmt.Sprintf("%q uses %s, which is unknown: there are %s; a field of the answer is body.%s", src, name, knownNames, name)
	}
	for _, word := range []string{"and", "or", "not"} {
		if strings.Contains(message, "'"+word+"'") {
			return fmt.Sprintf("%q: conditions are joined by && and ||, and denied by !", src)
		}
	}
	return ""
}

package adapter

import (
	"iter"
	"slices"
	"strings"
)

// A found is something auto found, with the expression that finds it.
type found struct {
	value  string
	expr   string
	header bool
}

// An object is a JSON object or XML element that auto looks into.
type object struct {
	fields map[string]any
	expr   string
}

// top is the object that an answer is about. Of XML it is the root element.
func top(v *view) (object, bool) {
	kind := v.decode()
	fields, ok := v.body.(map[string]any)
	o := object{fields: fields, expr: varBody}
	if kind != xmlBody || !ok {
		return o, ok && kind == jsonBody
	}
	for name, root := range fields {
		fields, ok = root.(map[string]any)
		return object{fields: fields, expr: o.sub(name)}, ok
	}
	return o, false
}

// sub is the expression of a field.
func (o object) sub(key string) string {
	if isName(key) && (key[0] < '0' || key[0] > '9') && !slices.Contains(celReserved, key) {
		return o.expr + "." + key
	}
	return o.expr + "[" + string(encodeJSON(key)) + "]"
}

// celReserved cannot follow a dot in every version of CEL.
var celReserved = []string{"false", "in", "null", "true", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"}

// named lists the keys of o that have one of the names, in the order of the ranks.
func (o object) named(ranks map[string]int) []string {
	var keys []string
	for key := range o.fields {
		if _, ok := rank(ranks, key); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) > 1 {
		slices.SortFunc(keys, func(a, b string) int {
			rankOfA, _ := rank(ranks, a)
			rankOfB, _ := rank(ranks, b)
			if d := rankOfA - rankOfB; d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
	}
	return keys
}

// held lists the objects in o that have one of the names.
func (o object) held(ranks map[string]int) iter.Seq[object] {
	return func(yield func(object) bool) {
		for _, key := range o.named(ranks) {
			if fields, ok := o.fields[key].(map[string]any); ok && !yield(object{fields: fields, expr: o.sub(key)}) {
				return
			}
		}
	}
}

// texts lists the non-empty texts of o that have one of the names.
func (o object) texts(ranks map[string]int) []found {
	var all []found
	for _, key := range o.named(ranks) {
		if text, ok := o.fields[key].(string); ok && strings.TrimSpace(text) != "" {
			all = append(all, found{value: text, expr: o.sub(key)})
		}
	}
	return all
}

// around lists o and what holds the job in it, two levels deep
// (data.attributes.progress), the nearest first.
func (o object) around() iter.Seq[object] {
	return func(yield func(object) bool) {
		if !yield(o) {
			return
		}
		for inner := range o.held(holders) {
			if !yield(inner) {
				return
			}
		}
		for inner := range o.held(holders) {
			for innermost := range inner.held(holders) {
				if !yield(innermost) {
					return
				}
			}
		}
	}
}

// flag is the first boolean of o that has one of the names.
func (o object) flag(names map[string]int) (value, ok bool) {
	for _, key := range o.named(names) {
		if value, ok = o.fields[key].(bool); ok {
			return value, true
		}
	}
	return false, false
}

package adapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// A value that comes from a body is one of nil, bool, string, json.Number,
// []any and map[string]any. nil stands for null and for absence alike: no
// expression needs to tell them apart outside of CEL itself. Numbers stay text
// until somebody computes with them, so that ids are printed as they were written.

// maxDepth bounds the nesting of JSON and XML. Real status answers stay below 20;
// the bound keeps recursion over a value, here and in CEL, on a small stack.
const maxDepth = 100

var (
	errDeep  = errors.New("nested too deep")
	errTrail = errors.New("more than one value")
)

// decodeJSON reads one JSON value. Of duplicate keys the last one wins.
func decodeJSON(body []byte) (any, error) {
	if tooDeep(body) {
		return nil, errDeep
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errTrail
	}
	return v, nil
}

// tooDeep counts brackets outside of strings; the decoder finds what is not JSON.
func tooDeep(body []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// encodeJSON writes a value without the escapes for HTML that json.Marshal adds.
func encodeJSON(v any) json.RawMessage {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return nil
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// compactJSON minifies a body that is known to be JSON and makes it valid UTF-8:
// it is going to be part of an event that browsers parse.
func compactJSON(body []byte) json.RawMessage {
	var buf bytes.Buffer
	buf.Grow(len(body))
	if json.Compact(&buf, body) != nil {
		return nil
	}
	return bytes.ToValidUTF8(buf.Bytes(), []byte("\uFFFD"))
}

// scalarText is the text of a scalar; objects, lists and null have none.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// number reads a number, or the number that a text begins with: "31% complete".
func number(v any) (float64, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = numberPrefix(strings.TrimSpace(v))
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && !math.IsInf(f, 0)
}

func numberPrefix(s string) string {
	end, point := 0, false
	for ; end < len(s); end++ {
		switch c := s[end]; {
		case c >= '0' && c <= '9', c == '-' && end == 0:
			continue
		case c == '.' && !point:
			point = true
			continue
		}
		break
	}
	return s[:end]
}

// truthy tells whether an error field says that there is one. Backends send null,
// "", false, 0, {} and [] when all is well.
func truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return strings.TrimSpace(v) != ""
	case json.Number:
		f, ok := number(v)
		return !ok || f != 0
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	}
	return false
}

// exactNumbers lets CEL see our values. It computes with int64, with uint64 above
// that, and with doubles beyond and for all that is not written as an integer.
type exactNumbers struct{ types.Adapter }

func (a exactNumbers) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case json.Number:
		return celNumber(v.String())
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	}
	return a.Adapter.NativeToValue(v)
}

func celNumber(text string) ref.Val {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return types.Int(i)
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return types.Uint(u)
	}
	f, _ := strconv.ParseFloat(text, 64) // out of range: infinity, which compares as it should
	return types.Double(f)
}

// fromCEL is the way back. What has no JSON form is absent.
func fromCEL(v ref.Val) any {
	switch v := v.(type) {
	case types.Bool:
		return bool(v)
	case types.String:
		return string(v)
	case types.Int:
		return json.Number(strconv.FormatInt(int64(v), 10))
	case types.Uint:
		return json.Number(strconv.FormatUint(uint64(v), 10))
	case types.Double:
		text, err := json.Marshal(float64(v))
		if err != nil { // NaN, infinity
			return nil
		}
		return json.Number(text)
	case types.Bytes:
		if !utf8.Valid(v) {
			return nil
		}
		return string(v)
	case types.Timestamp, types.Duration:
		return fromCEL(v.ConvertToType(types.StringType))
	case *types.Optional:
		if !v.HasValue() {
			return nil
		}
		return fromCEL(v.GetValue())
	case traits.Mapper:
		return objectFromCEL(v)
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			list = append(list, fromCEL(it.Next()))
		}
		return list
	}
	return nil
}

func objectFromCEL(m traits.Mapper) any {
	if native, ok := m.Value().(map[string]any); ok {
		return native
	}
	object := make(map[string]any)
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		if name, ok := scalarText(fromCEL(key)); ok {
			object[name] = fromCEL(m.Get(key))
		}
	}
	return object
}

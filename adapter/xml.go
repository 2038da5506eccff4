package adapter

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// decodeXML reads a document into nested maps, so that <job id="7"><phase>DONE
// </phase></job> is read by body.job.phase and body.job["@id"]. Names lose their
// namespace; elements that repeat become a list; an element without attributes
// and children is its text; beside them the text is "#text". Only the five
// standard entities exist, so nothing can expand.
func decodeXML(body []byte) (map[string]any, error) {
	dec := xml.NewDecoder(bytes.NewReader(body))
	dec.CharsetReader = latin1
	root := element{}
	open := []*element{&root}
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		top := open[len(open)-1]
		switch t := token.(type) {
		case xml.StartElement:
			if len(open) > maxDepth {
				return nil, errDeep
			}
			open = append(open, newElement(t))
		case xml.EndElement:
			open = open[:len(open)-1]
			open[len(open)-1].add(top.name, top.value())
		case xml.CharData:
			top.text.Write(t)
		}
	}
	if root.fields == nil {
		return nil, errors.New("no element")
	}
	return root.fields, nil
}

type element struct {
	name   string
	fields map[string]any
	text   strings.Builder
}

func newElement(start xml.StartElement) *element {
	e := &element{name: start.Name.Local}
	for _, attr := range start.Attr {
		if attr.Name.Space != "xmlns" && attr.Name.Local != "xmlns" {
			e.add("@"+attr.Name.Local, attr.Value)
		}
	}
	return e
}

func (e *element) add(name string, v any) {
	if e.fields == nil {
		e.fields = make(map[string]any)
	}
	switch before := e.fields[name].(type) {
	case nil:
		e.fields[name] = v
	case []any:
		e.fields[name] = append(before, v)
	default:
		e.fields[name] = []any{before, v}
	}
}

func (e *element) value() any {
	text := strings.TrimSpace(e.text.String())
	if e.fields == nil {
		return text
	}
	if text != "" {
		e.fields["#text"] = text
	}
	return e.fields
}

// latin1 reads the two other encodings that old backends declare.
func latin1(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "iso-8859-1", "latin1", "us-ascii", "ascii":
	default:
		return nil, fmt.Errorf("encoding %q is not supported", charset)
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	runes := make([]rune, len(raw))
	for i, b := range raw {
		runes[i] = rune(b)
	}
	return strings.NewReader(string(runes)), nil
}

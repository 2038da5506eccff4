package adapter

import (
	"fmt"
	"net/url"
	"strings"
)

// A pattern is a compiled Route: one element for each segment of the path.
type pattern struct {
	method   string
	segments []segment
}

type segment struct {
	literal string // unescaped
	param   string // set if the segment is a capture
}

func compileRoute(r Route) (pattern, error) {
	if err := checkTarget(r.Path); err != nil {
		return pattern{}, err
	}
	if strings.Contains(r.Path, "?") {
		return pattern{}, fmt.Errorf("%q: a route has no query: leave it out", r.Path)
	}
	p := pattern{method: r.Method}
	seen := make(map[string]bool)
	for text := range strings.SplitSeq(r.Path, "/") {
		s, err := compileSegment(r.Path, text)
		if err != nil {
			return pattern{}, err
		}
		if s.param != "" && seen[s.param] {
			return pattern{}, fmt.Errorf("%q captures {params.%s} twice", r.Path, s.param)
		}
		seen[s.param] = true
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func compileSegment(src, text string) (segment, error) {
	if !strings.ContainsAny(text, "{}") {
		literal, err := url.PathUnescape(text)
		return segment{literal: literal}, err
	}
	inner, opened := strings.CutPrefix(text, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !opened || !closed || strings.ContainsAny(inner, "{}") {
		return segment{}, fmt.Errorf("%q: a capture takes a whole segment, as in /queues/{params.queue}/jobs", src)
	}
	capture, ok := captureName(inner)
	switch {
	case capture == jobIDCapture:
		return segment{}, fmt.Errorf("%q: the job has no id before it is submitted: write {params.<name>} for a part of the path that varies", src)
	case !ok, capture == keyCapture:
		return segment{}, unknownPlaceholder(src, inner)
	}
	return segment{param: strings.TrimPrefix(capture, paramsPrefix)}, nil
}

// params lists the names that the pattern captures.
func (p pattern) params() []string {
	var names []string
	for _, s := range p.segments {
		if s.param != "" {
			names = append(names, s.param)
		}
	}
	return names
}

// match compares an escaped path segment by segment. A capture that could not be
// put into another URL does not match: the job could not be polled.
func (p pattern) match(method, escaped string) (map[string]string, bool) {
	if method != p.method || strings.Count(escaped, "/") != len(p.segments)-1 {
		return nil, false
	}
	var params map[string]string
	i := 0
	for text := range strings.SplitSeq(escaped, "/") {
		value, err := url.PathUnescape(text)
		if err != nil {
			return nil, false
		}
		s := p.segments[i]
		i++
		if s.param == "" {
			if value != s.literal {
				return nil, false
			}
			continue
		}
		if checkValue(value) != nil {
			return nil, false
		}
		if params == nil {
			params = make(map[string]string)
		}
		params[s.param] = value
	}
	return params, true
}

// Overlaps reports whether some request matches both routes.
func (r Route) Overlaps(other Route) bool {
	p, err := compileRoute(r.withDefault())
	q, otherErr := compileRoute(other.withDefault())
	if err != nil || otherErr != nil || p.method != q.method || len(p.segments) != len(q.segments) {
		return false
	}
	for i, s := range p.segments {
		o := q.segments[i]
		if s.param == "" && o.param == "" && s.literal != o.literal {
			return false
		}
	}
	return true
}

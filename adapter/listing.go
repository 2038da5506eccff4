package adapter

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
)

// A listing is a template with at most one place for the ids of many jobs. Each id
// stands between pre and post, and sep between two of them.
type listing struct {
	head, pre, post, tail *template
	sep                   string
	escape                func(string) string // nil if there is no place for ids
}

const (
	idsPlaceholder  = "{job_ids}"
	eachPlaceholder = "{job_ids*}"
)

// parseListing reads the template of a path and query. {job_ids} is a comma list;
// {job_ids*}, in a query, repeats what stands between two ampersands.
func parseListing(src string) (*listing, error) {
	if err := checkTarget(src); err != nil {
		return nil, err
	}
	if strings.Count(src, idsPlaceholder)+strings.Count(src, eachPlaceholder) > 1 {
		return nil, fmt.Errorf("%q: the ids stand there twice: write %s or %s once", src, idsPlaceholder, eachPlaceholder)
	}
	path, query, hasQuery := strings.Cut(src, "?")
	if hasQuery {
		query = "?" + query
	}
	l := newListing(src)
	if before, after, ok := strings.Cut(query, eachPlaceholder); ok {
		return l, l.each(path, before, after)
	}
	if strings.Contains(src, eachPlaceholder) {
		return nil, fmt.Errorf("%q: %s repeats a part of a query, and this is the path: write %s", src, eachPlaceholder, idsPlaceholder)
	}
	l.sep = ","
	if before, after, ok := strings.Cut(path, idsPlaceholder); ok {
		l.escape = url.PathEscape
		return l, cmp.Or(l.head.path(before), l.tail.path(after), l.tail.query(query))
	}
	before, after, ok := strings.Cut(query, idsPlaceholder)
	if ok {
		l.escape = escapeQuery
	}
	return l, cmp.Or(l.head.path(path), l.head.query(before), l.tail.query(after))
}

// parseBodyListing reads the template of a JSON body. {job_ids} is an array of
// texts; other braces stay as they are.
func parseBodyListing(src string) (*listing, error) {
	if strings.Contains(src, eachPlaceholder) {
		return nil, fmt.Errorf("%s repeats a part of a query: write %s, which is an array in a body", eachPlaceholder, idsPlaceholder)
	}
	before, after, ok := strings.Cut(src, idsPlaceholder)
	if strings.Contains(after, idsPlaceholder) {
		return nil, fmt.Errorf("the ids stand there twice: write %s once", idsPlaceholder)
	}
	if ok && withinQuotes(before) {
		return nil, fmt.Errorf("%s is an array and stands in a JSON string: write it without the quotes", idsPlaceholder)
	}
	l := newListing(src)
	l.head.parseText(before, placeInJSON)
	l.tail.parseText(after, placeInJSON)
	if ok {
		l.escape, l.sep = escapeJSON, ","
		l.head.parts = append(l.head.parts, part{literal: "["})
		l.tail.parts = append([]part{{literal: "]"}}, l.tail.parts...)
		l.pre.parts, l.post.parts = []part{{literal: `"`}}, []part{{literal: `"`}}
	}
	return l, nil
}

func newListing(src string) *listing {
	return &listing{head: &template{src: src}, pre: &template{src: src}, post: &template{src: src}, tail: &template{src: src}}
}

func (l *listing) each(path, before, after string) error {
	l.escape, l.sep = escapeQuery, "&"
	start := strings.LastIndexAny(before, "?&") + 1
	end := strings.IndexByte(after, '&')
	if end < 0 {
		end = len(after)
	}
	return cmp.Or(l.head.path(path), l.head.query(before[:start]), l.pre.query(before[start:]),
		l.post.query(after[:end]), l.tail.query(after[end:]))
}

func (t *template) path(src string) error  { return t.parse(src, url.PathEscape, escapeLiteral) }
func (t *template) query(src string) error { return t.parse(src, escapeQuery, escapeLiteral) }

// escapeJSON escapes what cannot stand between the quotes of a JSON text.
func escapeJSON(s string) string {
	quoted := encodeJSON(s)
	return string(quoted[1 : len(quoted)-1])
}

// lists reports whether there is a place for ids. Without one the backend lists
// every job that it knows.
func (l *listing) lists() bool { return l.escape != nil }

func (l *listing) templates() []*template { return []*template{l.head, l.pre, l.post, l.tail} }

// takes reports whether an id can be told from its neighbours. A comma cannot be
// escaped for good: most servers unescape before they split.
func (l *listing) takes(id string) bool {
	return checkValue(id) == nil && (!l.lists() || l.sep != "," || len(l.pre.parts) > 0 || !strings.Contains(id, ","))
}

func (l *listing) expand(ids []string, values captured) (string, error) {
	var around [4]string
	for i, t := range l.templates() {
		var err error
		if around[i], err = t.expand(values); err != nil {
			return "", err
		}
	}
	head, pre, post, tail := around[0], around[1], around[2], around[3]
	if !l.lists() {
		return head + tail, nil
	}
	var b strings.Builder
	b.WriteString(head)
	for i, id := range ids {
		if i > 0 {
			b.WriteString(l.sep)
		}
		b.WriteString(pre)
		b.WriteString(l.escape(id))
		b.WriteString(post)
	}
	b.WriteString(tail)
	return b.String(), nil
}

// expandTarget is expand for a URL.
func (l *listing) expandTarget(ids []string, values captured) (string, error) {
	target, err := l.expand(ids, values)
	if err != nil {
		return "", err
	}
	return target, checkExpanded(target)
}

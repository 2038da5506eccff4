package adapter

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A param is a value of an answer that is captured under a name.
type param struct {
	name  string
	value *expr
}

// parameters compiles the captures from the answer to the submit.
func (c *compiler) parameters() error {
	params, err := c.params("param", c.spec.Params)
	c.job.params = params
	return err
}

// params compiles captures and makes their names known. Their expressions can use
// what was captured before, not each other.
func (c *compiler) params(field string, written map[string]string) ([]param, error) {
	var params []param
	for _, name := range slices.Sorted(maps.Keys(written)) {
		switch {
		case !isName(name):
			return nil, specErr(field, "%q is no name: write letters, digits and underscores", name)
		case c.captures(name):
			return nil, specErr(field+" "+name, "is captured already: give it another name")
		case written[name] == "":
			return nil, specErr(field+" "+name, "its expression is missing: write one such as body.run.id")
		}
		value, err := c.submitExpr(field+" "+name, written[name])
		if err != nil {
			return nil, err
		}
		params = append(params, param{name, value})
	}
	for _, p := range params {
		c.told = append(c.told, p.name)
	}
	return params, nil
}

// capture reads params in an answer and adds them to those that are known. What is
// absent, or could not stand in a request, is not captured.
func capture(params []param, v *view, known map[string]string) (map[string]string, error) {
	if len(params) == 0 {
		return known, nil
	}
	all := maps.Clone(known)
	if all == nil {
		all = make(map[string]string, len(params))
	}
	for _, p := range params {
		text, err := p.value.text(v)
		if err != nil {
			return nil, err
		}
		if text != "" && len(text) <= maxURL && utf8.ValidString(text) && !strings.ContainsFunc(text, isControl) {
			all[p.name] = text
		}
	}
	return all, nil
}

package caddyintents_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who may import whom: a statement of policy. Do not change it to make a build
// pass; change it when the design changes.
//
// "a < b" says that b may import a, and whatever a may import. Nothing else may be
// imported within the module. "tests" stands for the _test files of any package,
// which may also import what their package may; "." is the root.
const policy = `
intent          < adapter, store, observe, engine, probe
store           < store/boltstore, store/memstore, store/redisstore, store/storetest, observe, engine
adapter         < engine, probe
internal/sse    < observe
internal/failpoint < engine, store/boltstore
intent, store, adapter, engine, observe, internal/sse < offload
internal/keyring < caddymodule
intent, store   < webhook

adapter, observe, engine, offload, probe, webhook, store/boltstore, store/memstore, store/redisstore < caddymodule
caddymodule     < .
.               < cmd/caddy, examples/quickstart, examples/backends, examples/clients, examples/cluster/legacy, bench

internal/sse, internal/ssetest, internal/legacytest, internal/caddytest, internal/redistest, internal/browsertest, internal/soak, internal/keyring, store/memstore, store/storetest < tests
internal/legacytest < bench
intent          < internal/audit
adapter, engine, observe, store/memstore, internal/audit < internal/simulation
internal/audit, internal/failpoint < tests
`

// Who may import what from outside the module. This does not carry over: whoever
// is not named imports it through the one who is. "*" is all other modules.
const outside = `
github.com/google/uuid          < intent
cel.dev/cel-go                  < adapter
go.etcd.io/bbolt                < store/boltstore
github.com/redis/go-redis/v9    < store/redisstore
golang.org/x/net                < adapter, caddymodule
golang.org/x/crypto             < internal/keyring
golang.org/x/time               < engine
github.com/stretchr/testify     < tests, store/storetest, internal/caddytest, internal/redistest, internal/browsertest, internal/soak
golang.org/x/tools              < tests
github.com/standard-webhooks/standard-webhooks < tests
github.com/caddyserver/caddy/v2 < caddymodule, ., cmd/caddy, examples/quickstart, examples/backends, examples/clients, bench
*                               < caddymodule, cmd/caddy, examples/quickstart, bench
`

const module = "github.com/caddy-intents/caddy-intents"

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	packages := listPackages(t)
	require.NotEmpty(t, packages)
	require.Empty(t, violations(packages, parseRules(policy), parseRules(outside)))
}

func TestABrokenRuleIsFound(t *testing.T) {
	cases := map[string]struct {
		pkg  listed
		want string
	}{
		"a fair one":                         {listed{ImportPath: module + "/engine", Imports: []string{"context", module + "/intent", module + "/adapter"}}, ""},
		"through two steps":                  {listed{ImportPath: module + "/store/boltstore", Imports: []string{module + "/intent", "go.etcd.io/bbolt/errors"}}, ""},
		"the root":                           {listed{ImportPath: module, Imports: []string{module + "/caddymodule"}}, ""},
		"the vocabulary with a dependency":   {listed{ImportPath: module + "/intent", Imports: []string{module + "/store"}}, "intent imports store"},
		"two who should not know each other": {listed{ImportPath: module + "/engine", Imports: []string{module + "/observe"}}, "engine imports observe"},
		"Caddy in the core":                  {listed{ImportPath: module + "/observe", Imports: []string{"github.com/caddyserver/caddy/v2/modules/caddyhttp"}}, "observe imports github.com/caddyserver/caddy/v2/modules/caddyhttp"},
		"Caddy in a test of the core":        {listed{ImportPath: module + "/observe", XTestImports: []string{"github.com/caddyserver/caddy/v2"}}, "tests of observe imports github.com/caddyserver/caddy/v2"},
		"bbolt by the one who uses the user": {listed{ImportPath: module + "/caddymodule", Imports: []string{"go.etcd.io/bbolt"}}, "caddymodule imports go.etcd.io/bbolt"},
		"CEL by the engine":                  {listed{ImportPath: module + "/engine", Imports: []string{"cel.dev/cel-go/cel"}}, "engine imports cel.dev/cel-go/cel"},
		"a namesake of an allowed module":    {listed{ImportPath: module + "/intent", Imports: []string{"github.com/google/uuid2"}}, "intent imports github.com/google/uuid2"},
		"an unknown module":                  {listed{ImportPath: module + "/adapter", Imports: []string{"example.com/jsonpath"}}, "adapter imports example.com/jsonpath"},
		"a test double in the product":       {listed{ImportPath: module + "/engine", Imports: []string{module + "/internal/legacytest"}}, "engine imports internal/legacytest"},
		"a test double in a test":            {listed{ImportPath: module + "/engine", TestImports: []string{module + "/internal/legacytest", "github.com/stretchr/testify/require"}}, ""},
		"a test of its own package":          {listed{ImportPath: module + "/engine", XTestImports: []string{module + "/engine"}}, ""},
		"testify in the product":             {listed{ImportPath: module + "/engine", Imports: []string{"github.com/stretchr/testify/require"}}, "engine imports github.com/stretchr/testify/require"},
		"a package nobody knows":             {listed{ImportPath: module + "/util"}, "util is not in the policy"},
	}
	for name, c := range cases {
		got := strings.Join(violations([]listed{c.pkg}, parseRules(policy), parseRules(outside)), "\n")
		require.Equal(t, c.want, got, name)
	}
}

// A listed package, as `go list` prints it.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	// With the tags, the files of tests that start processes are looked at too.
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-tags", "nobadger,nomysql,nopgx,e2e,backends,redis",
		"-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	out, err := list.Output()
	require.NoError(t, err)
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

// Rules tell who may import what, in the words of policy.
type rules map[string][]string

func parseRules(text string) rules {
	r := make(rules)
	for line := range strings.Lines(text) {
		imported, importers, found := strings.Cut(line, "<")
		if !found {
			continue
		}
		for _, importer := range names(importers) {
			r[importer] = append(r[importer], names(imported)...)
		}
	}
	return r
}

func names(list string) []string {
	var all []string
	for name := range strings.SplitSeq(list, ",") {
		all = append(all, strings.TrimSpace(name))
	}
	return all
}

// allow reports whether importer may import the package, be it through others.
func (r rules) allow(importer, imported string) bool {
	return slices.ContainsFunc(r[importer], func(direct string) bool {
		return direct == imported || r.allow(direct, imported)
	})
}

// know reports whether a package is named at all.
func (r rules) know(name string) bool {
	for importer, imported := range r {
		if importer == name || slices.Contains(imported, name) {
			return true
		}
	}
	return false
}

// permit reports whether importer may import a package of another module.
func (r rules) permit(importer, imported string) bool {
	owner := "*"
	for _, modules := range r {
		for _, m := range modules {
			if imported == m || strings.HasPrefix(imported, m+"/") {
				owner = m
			}
		}
	}
	return slices.Contains(r[importer], owner)
}

func violations(packages []listed, within, outside rules) []string {
	var found []string
	for _, p := range packages {
		pkg := short(p.ImportPath)
		if !within.know(pkg) {
			found = append(found, pkg+" is not in the policy")
			continue
		}
		check := func(imports []string, who string, importers ...string) {
			for _, imported := range imports {
				if !mayImport(imported, importers, within, outside) {
					found = append(found, fmt.Sprintf("%s imports %s", who, short(imported)))
				}
			}
		}
		check(p.Imports, pkg, pkg)
		check(slices.Concat(p.TestImports, p.XTestImports), "tests of "+pkg, pkg, "tests")
	}
	return found
}

func mayImport(imported string, importers []string, within, outside rules) bool {
	name := short(imported)
	return slices.ContainsFunc(importers, func(importer string) bool {
		switch {
		case name == importer: // the outer tests of a package
			return true
		case name != imported:
			return within.allow(importer, name)
		}
		first, _, _ := strings.Cut(imported, "/")
		return !strings.Contains(first, ".") || outside.permit(importer, imported)
	})
}

// short is a path within the module as the policy writes it; others stay whole.
func short(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

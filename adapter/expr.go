package adapter

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
)

// Bounds of one evaluation. The cost limit is what ends a runaway comprehension;
// time is the backstop for a machine that is so busy that even this takes long.
const (
	costLimit     = 200_000
	timeLimit     = time.Second
	interruptFreq = 100
)

// errCut says that an evaluation was ended by its bounds. It is the only error of
// an evaluation: whatever else goes wrong in one is absence.
var errCut = errors.New("expression costs too much")

// An expr is a compiled expression. A plain path (body.a[0].b), which is what
// nearly all of them are, is walked without CEL; a test and a fuzz target
// hold both ways together.
type expr struct {
	field string // what it is for, in the words of the config
	src   string
	path  *path // nil if CEL is needed
	prog  cel.Program
	reads map[string]bool // the names it uses
	gives *cel.Type
}

// environment is the one CEL environment; making it costs more than all the
// expressions of a config.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	text := cel.MapType(cel.StringType, cel.StringType)
	return cel.NewEnv(
		cel.Variable(varCode, cel.IntType),
		cel.Variable(varHeaders, text),
		cel.Variable(varBody, cel.DynType),
		cel.Variable(varText, cel.StringType),
		cel.Variable(varParams, text),
		cel.Variable(varRequest, cel.DynType),
		cel.OptionalTypes(),
		ext.Regex(),
		cel.CustomTypeAdapter(exactNumbers{types.DefaultTypeAdapter}),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
	)
})

// compileExpr compiles src, and nil for an empty one.
func compileExpr(field, src string) (*expr, error) {
	if src == "" {
		return nil, nil
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("setting up CEL: %w", err)
	}
	checked, issues := env.Compile(src)
	if issues.Err() != nil {
		return nil, &SpecError{Field: field, Err: explain(src, issues)}
	}
	prog, err := env.Program(checked,
		cel.EvalOptions(cel.OptOptimize),
		cel.CostLimit(costLimit),
		cel.InterruptCheckFrequency(interruptFreq))
	if err != nil {
		return nil, specErr(field, "%q: %w", src, err)
	}
	root := checked.NativeRep().Expr()
	if err := checkCalls(root); err != nil {
		return nil, specErr(field, "%q: %w", src, err)
	}
	return &expr{field: field, src: src, path: pathOf(root), prog: prog, reads: namesIn(root), gives: checked.OutputType()}, nil
}

// compileCondition compiles an expression that is true or false.
func compileCondition(field, src string) (*expr, error) {
	if src == "" {
		return nil, specErr(field, "the condition is missing: write one in backticks, such as `body.done && body.errors > 0`")
	}
	e, err := compileExpr(field, src)
	if err != nil {
		return nil, err
	}
	if !e.gives.IsExactType(cel.BoolType) && !e.gives.IsExactType(cel.DynType) {
		return nil, specErr(field, "%q gives a value of type %s, not true or false: compare it, as in %s == 'done'", src, e.gives, src)
	}
	return e, nil
}

// eval gives the expression's value, nil if it is absent or if e is nil.
func (e *expr) eval(v *view) (any, error) {
	switch {
	case e == nil:
		return nil, nil
	case e.path != nil:
		return e.path.walk(v), nil
	}
	return e.compute(v)
}

func (e *expr) compute(v *view) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	out, _, err := e.prog.ContextEval(ctx, activation{v})
	if err == nil {
		return fromCEL(out), nil
	}
	if isAbsence(err) {
		return nil, nil
	}
	return nil, fmt.Errorf("%s: %w", e.field, errCut)
}

// isAbsence tells what went wrong in an evaluation from what ended it. Inside of
// CEL every failure of an operation (no such key, no such overload, division by
// zero, ...) is a value of type *types.Err. What ends the whole evaluation is none:
// the cost limit and bugs arrive as a recovered panic, the deadline as an
// InterruptError.
func isAbsence(err error) bool {
	_, failed := errors.AsType[*types.Err](err)
	return failed && !errors.Is(err, interpreter.InterruptError{})
}

// holds evaluates a condition.
func (e *expr) holds(v *view) (bool, error) {
	value, err := e.eval(v)
	return value == true, err
}

// text evaluates an expression whose scalar value is wanted as text.
func (e *expr) text(v *view) (string, error) {
	value, err := e.eval(v)
	text, _ := scalarText(value)
	return text, err
}

func (e *expr) uses(name string) bool { return e != nil && e.reads[name] }

// activation is how CEL looks at a view.
type activation struct{ v *view }

func (a activation) ResolveName(name string) (any, bool) { return a.v.resolve(name) }
func (activation) Parent() interpreter.Activation        { return nil }

// A path is a name followed by keys (string) and indexes (int).
type path struct {
	root  string
	steps []any
}

// pathOf recognises a plain path.
func pathOf(e ast.Expr) *path {
	switch e.Kind() {
	case ast.IdentKind:
		return &path{root: e.AsIdent()}
	case ast.SelectKind:
		if sel := e.AsSelect(); !sel.IsTestOnly() {
			return pathOf(sel.Operand()).then(sel.FieldName())
		}
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || call.Args()[1].Kind() != ast.LiteralKind {
			return nil
		}
		switch key := call.Args()[1].AsLiteral().(type) {
		case types.String:
			return pathOf(call.Args()[0]).then(string(key))
		case types.Int:
			return pathOf(call.Args()[0]).then(int(key))
		}
	}
	return nil
}

func (p *path) then(step any) *path {
	if p == nil {
		return nil
	}
	return &path{root: p.root, steps: append(p.steps, step)}
}

// walk follows the path as CEL would: nil where CEL would say that there is no
// such key or that the value is of the wrong kind.
func (p *path) walk(v *view) any {
	at, ok := v.resolve(p.root)
	if !ok {
		return nil
	}
	for _, step := range p.steps {
		switch from := at.(type) {
		case map[string]any:
			key, _ := step.(string)
			if at, ok = from[key]; !ok || !isKey(step) {
				return nil
			}
		case map[string]string:
			key, _ := step.(string)
			if at, ok = from[key]; !ok || !isKey(step) {
				return nil
			}
		case []any:
			i, ok := step.(int)
			if !ok || i < 0 || i >= len(from) {
				return nil
			}
			at = from[i]
		default:
			return nil
		}
	}
	return plain(at)
}

func isKey(step any) bool {
	_, ok := step.(string)
	return ok
}

// plain makes headers and params as a whole a value like those of a body.
func plain(v any) any {
	m, ok := v.(map[string]string)
	if !ok {
		return v
	}
	object := make(map[string]any, len(m))
	for k, s := range m {
		object[k] = s
	}
	return object
}

// checkCalls refuses calls that cannot work, or that an answer could make enormous:
// the length of what regex.replace gives is a product of two texts of the backend.
func checkCalls(root ast.Expr) (err error) {
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || err != nil {
			return
		}
		switch call := e.AsCall(); call.FunctionName() {
		case "regex.replace":
			err = errors.New("regex.replace is not offered: write regex.extract")
		case "regex.extract", "regex.extractAll":
			if pattern := call.Args()[1]; pattern.Kind() == ast.LiteralKind {
				err = checkPattern(pattern.AsLiteral())
			}
		}
	}))
	return err
}

func checkPattern(literal ref.Val) error {
	text, _ := literal.Value().(string)
	pattern, err := regexp.Compile(text)
	if err != nil {
		return err
	}
	if pattern.NumSubexp() > 1 {
		return errors.New("the pattern has more than one group: write (?:...) for those that are not wanted")
	}
	return nil
}

// namesIn finds the names that an expression uses.
func namesIn(root ast.Expr) map[string]bool {
	names := make(map[string]bool)
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind {
			names[e.AsIdent()] = true
		}
	}))
	return names
}

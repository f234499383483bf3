package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strings"
)

// chosenEnv is the environment variable that chooses a mutant, by its number,
// from a binary that holds many; 0 or nothing chooses the code as it is.
const chosenEnv = "CHOSEN_MUTANT"

// chosenFile has to be beside every file with grafted mutants.
const chosenFile = "chosen_mutant.go"

func chosenSource(pkg string) string {
	return fmt.Sprintf(`package %s

import (
	"os"
	"strconv"
)

var chosenMutant, _ = strconv.Atoi(os.Getenv(%q))
`, pkg, chosenEnv)
}

// A span is the first and the last line of something in a file.
type span struct{ first, last int }

// graft puts many mutants, given as the whole of the mutated file by number,
// into one file: every function that some of them change gets a twin for each,
// and begins with the choice of one. The twins stand at the end of the file; the
// spans tell where. A mutant without a span does not lend itself to this: it
// changes something other than the body of one function, or does not parse.
//
// A twin is a function of its own, not a branch in the function it belongs to,
// since x, err := f() means something else where err is declared further out.
func graft(source string, mutants map[int]string) (grafted, pkg string, twins map[int]span, err error) {
	file, err := parse(source)
	if err != nil {
		return "", "", nil, err
	}
	var splices []splice
	tail := "\n"
	twins = map[int]span{}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil || recovers(fn) {
			continue
		}
		choice := ""
		call, naming := callOf(fn)
		for _, n := range slices.Sorted(maps.Keys(mutants)) {
			text := mutants[n]
			changed := changedIn(fn, source, text)
			if changed == nil || recovers(changed) {
				continue
			}
			suffix := fmt.Sprint("_mutant", n)
			choice += fmt.Sprintf("case %d: %s; ", n, strings.Replace(call, "*", suffix, 1))
			name := offset(changed.Name.End())
			twin := text[offset(changed.Pos()):name] + suffix + text[name:offset(changed.End())] + "\n"
			first := 1 + strings.Count(source+tail, "\n")
			twins[n] = span{first, first + strings.Count(twin, "\n") - 1}
			tail += twin
		}
		if choice != "" {
			splices = append(splices, naming...)
			splices = append(splices, splice{offset(fn.Body.Lbrace) + 1, 0, " switch chosenMutant { " + choice + "}; "})
		}
	}
	return spliced(source, splices) + tail, file.Name.Name, twins, nil
}

// parse parses a file such that positions are offsets, but for offset.
func parse(source string) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
}

// offset is the place of pos in a file that is the only one of its set.
func offset(pos token.Pos) int { return int(pos) - 1 }

// changedIn returns fn as it is in the mutated text, or nil if the text differs
// from the source in more than fn's body.
func changedIn(fn *ast.FuncDecl, source, text string) *ast.FuncDecl {
	same := 0
	for same < min(len(source), len(text)) && source[same] == text[same] {
		same++
	}
	grown := len(text) - len(source)
	left, right := offset(fn.Body.Lbrace)+1, offset(fn.Body.Rbrace)
	if same < left || right+grown < left || source[right:] != text[right+grown:] {
		return nil
	}
	file, err := parse(text)
	if err != nil {
		return nil
	}
	for _, decl := range file.Decls {
		changed, ok := decl.(*ast.FuncDecl)
		if ok && changed.Pos() == fn.Pos() && changed.Body != nil &&
			changed.Body.Lbrace == fn.Body.Lbrace && offset(changed.Body.Rbrace) == right+grown {
			return changed
		}
	}
	return nil
}

// recovers tells whether fn itself calls recover, which does nothing in a twin:
// it is not the twin that was deferred.
func recovers(fn *ast.FuncDecl) bool {
	found := false
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			name, ok := call.Fun.(*ast.Ident)
			found = found || ok && name.Name == "recover"
		}
		_, inner := n.(*ast.FuncLit)
		return !inner
	})
	return found
}

// callOf returns the statement by which fn hands over to a twin, with a * after
// the name, and the splices that name the parameters which have no name.
func callOf(fn *ast.FuncDecl) (call string, naming []splice) {
	names := func(list *ast.FieldList) (names []string) {
		if list == nil {
			return nil
		}
		for _, field := range list.List {
			dots := ""
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				dots = "..."
			}
			for _, name := range field.Names {
				text := name.Name
				if text == "_" {
					text = fmt.Sprint("blank", offset(name.Pos()))
					naming = append(naming, splice{offset(name.Pos()), 1, text})
				}
				names = append(names, text+dots)
			}
			if len(field.Names) == 0 {
				at := offset(field.Type.Pos())
				text := fmt.Sprint("blank", at)
				naming = append(naming, splice{at, 0, text + " "})
				names = append(names, text+dots)
			}
		}
		return names
	}
	call = fn.Name.Name + "*"
	if fn.Recv != nil {
		call = names(fn.Recv)[0] + "." + call
	}
	if types := names(fn.Type.TypeParams); types != nil {
		call += "[" + strings.Join(types, ", ") + "]"
	}
	call += "(" + strings.Join(names(fn.Type.Params), ", ") + ")"
	if fn.Type.Results != nil {
		return "return " + call, naming
	}
	return call + "; return", naming
}

// A splice replaces length bytes by text.
type splice struct {
	at, length int
	text       string
}

// spliced makes the changes, which are in the order of their places.
func spliced(source string, splices []splice) string {
	var b strings.Builder
	done := 0
	for _, s := range splices {
		b.WriteString(source[done:s.at])
		b.WriteString(s.text)
		done = s.at + s.length
	}
	b.WriteString(source[done:])
	return b.String()
}

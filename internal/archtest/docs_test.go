package archtest

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// Every package that an integrator can import explains itself in doc.go and
// shows one example that runs.
func TestPackagesAreDocumented(t *testing.T) {
	for _, l := range load(t, "amd64") {
		if l.Name == "main" || len(l.GoFiles) == 0 || strings.HasPrefix(l.path(), "internal/") {
			continue
		}
		t.Run(l.ImportPath, func(t *testing.T) {
			for _, problem := range docProblems(t, l) {
				t.Error(problem)
			}
		})
	}
}

// docProblems returns what is missing of the package's comment and example.
func docProblems(t *testing.T, l listed) []string {
	t.Helper()
	parse := func(name string) *ast.File {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(l.Dir, name), nil, parser.ParseComments)
		assert.NilError(t, err)
		return f
	}

	var problems []string
	if !slices.Contains(l.GoFiles, "doc.go") {
		problems = append(problems, "no doc.go")
	} else if text := parse("doc.go").Doc.Text(); !strings.HasPrefix(text, "Package "+l.Name+" ") {
		problems = append(problems, "doc.go has no comment that starts with: Package "+l.Name)
	}

	var tests []*ast.File
	for _, name := range slices.Concat(l.TestGoFiles, l.XTestGoFiles) {
		tests = append(tests, parse(name))
	}
	// go test runs an example only if it says what it prints.
	runs := func(e *doc.Example) bool { return e.Output != "" || e.EmptyOutput }
	if !slices.ContainsFunc(doc.Examples(tests...), runs) {
		problems = append(problems, "no Example with an // Output: comment")
	}
	return problems
}

func TestDocProblems(t *testing.T) {
	const (
		doc     = "// Package x is a thing.\npackage x\n"
		example = "package x_test\n\nimport \"fmt\"\n\nfunc Example() {\n\tfmt.Println(1)\n\t// Output: 1\n}\n"
	)
	for _, tt := range []struct {
		name          string
		docGo, testGo string
		want          []string
	}{
		{name: "all there", docGo: doc, testGo: example},
		{name: "no doc.go", testGo: example, want: []string{"no doc.go"}},
		{name: "no comment", docGo: "package x\n", testGo: example, want: []string{"doc.go has no comment that starts with: Package x"}},
		{name: "a licence is no comment", docGo: "// Licence\n\npackage x\n", testGo: example, want: []string{"doc.go has no comment that starts with: Package x"}},
		{name: "no example", docGo: doc, testGo: "package x_test\n", want: []string{"no Example with an // Output: comment"}},
		{name: "example does not run", docGo: doc, testGo: strings.Replace(example, "Output", "Prints", 1), want: []string{"no Example with an // Output: comment"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := listed{Dir: t.TempDir(), Name: "x", XTestGoFiles: []string{"x_test.go"}}
			if tt.docGo != "" {
				l.GoFiles = []string{"doc.go"}
				assert.NilError(t, os.WriteFile(filepath.Join(l.Dir, "doc.go"), []byte(tt.docGo), 0o600))
			}
			assert.NilError(t, os.WriteFile(filepath.Join(l.Dir, "x_test.go"), []byte(tt.testGo), 0o600))
			assert.Check(t, is.DeepEqual(docProblems(t, l), tt.want))
		})
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

func TestGraft(t *testing.T) {
	for _, tt := range []struct {
		name, source, old, new string
		want                   string // the function, with its choice
		twin                   string // "" if there is to be none
	}{
		{
			name:   "function",
			source: "func Add(a, b int) int { return a + b }",
			old:    "a + b", new: "a - b",
			want: "func Add(a, b int) int { switch chosenMutant { case 7: return Add_mutant7(a, b); };  return a + b }",
			twin: "func Add_mutant7(a, b int) int { return a - b }",
		},
		{
			name:   "no result",
			source: "func Stop() {\n\tclose(done)\n}",
			old:    "close(done)", new: "",
			want: "func Stop() { switch chosenMutant { case 7: Stop_mutant7(); return; }; \n\tclose(done)\n}",
			twin: "func Stop_mutant7() {\n\t\n}",
		},
		{
			name:   "method, a named result",
			source: "// Len.\nfunc (l *List) Len() (n int) { n = l.n; return }",
			old:    "l.n;", new: "l.n + 1;",
			want: "// Len.\nfunc (l *List) Len() (n int) { switch chosenMutant { case 7: return l.Len_mutant7(); };  n = l.n; return }",
			twin: "func (l *List) Len_mutant7() (n int) { n = l.n + 1; return }",
		},
		{
			name:   "generic, variadic",
			source: "func Max[K any, V int | uint](k K, vs ...V) (V, error) { return vs[0], nil }",
			old:    "vs[0]", new: "vs[1]",
			want: "func Max[K any, V int | uint](k K, vs ...V) (V, error) { switch chosenMutant { case 7: return Max_mutant7[K, V](k, vs...); };  return vs[0], nil }",
			twin: "func Max_mutant7[K any, V int | uint](k K, vs ...V) (V, error) { return vs[1], nil }",
		},
		{
			name:   "method of a generic type",
			source: "func (l *List[T]) First() T { return l.all[0] }",
			old:    "[0]", new: "[1]",
			want: "func (l *List[T]) First() T { switch chosenMutant { case 7: return l.First_mutant7(); };  return l.all[0] }",
			twin: "func (l *List[T]) First_mutant7() T { return l.all[1] }",
		},
		{
			name:   "parameters without a name",
			source: "func (T) Do(_ int, a string, _, b byte) { f(a, b) }",
			old:    "f(a, b)", new: "f(a, 0)",
			want: "func (blank16 T) Do(blank22 int, a string, blank39, b byte) { switch chosenMutant { case 7: blank16.Do_mutant7(blank22, a, blank39, b); return; };  f(a, b) }",
			twin: "func (T) Do_mutant7(_ int, a string, _, b byte) { f(a, 0) }",
		},
		{
			name:   "no parameter has a name",
			source: "func Do(int, ...string) { f(0) }",
			old:    "f(0)", new: "f(1)",
			want: "func Do(blank18 int, blank23 ...string) { switch chosenMutant { case 7: Do_mutant7(blank18, blank23...); return; };  f(0) }",
			twin: "func Do_mutant7(int, ...string) { f(1) }",
		},
		{
			name:   "recovers in a function of its own",
			source: "func Do() { defer func() { recover() }(); f(0) }",
			old:    "f(0)", new: "f(1)",
			want: "func Do() { switch chosenMutant { case 7: Do_mutant7(); return; };  defer func() { recover() }(); f(0) }",
			twin: "func Do_mutant7() { defer func() { recover() }(); f(1) }",
		},
		{name: "recovers itself", source: "func Do() { x = recover(); f(0) }", old: "f(0)", new: "f(1)"},
		{name: "constant", source: "const a = 1", old: "1", new: "2"},
		{name: "variable", source: "var a = func() int { return 1 }", old: "1", new: "2"},
		{name: "parameters", source: "func Do(a int) { f(a) }", old: "(a int", new: "(b int"},
		{name: "more than the body", source: "func Do() { f(0) }\nvar a = 0", old: "f(0) }", new: "f(1) }; const b = 0"},
		{name: "does not parse", source: "func Do() { f(0) }", old: "f(0)", new: "f(0"},
		{name: "a brace too many", source: "func Do() { f(0) }", old: "f(0)", new: "} {"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source := "package p\n" + tt.source + "\n"
			grafted, pkg, twins, err := graft(source, map[int]string{7: strings.Replace(source, tt.old, tt.new, 1)})
			assert.NilError(t, err)
			assert.Equal(t, pkg, "p")
			if tt.twin == "" {
				assert.Equal(t, grafted, source+"\n")
				assert.Equal(t, len(twins), 0)
				return
			}
			assert.Equal(t, grafted, "package p\n"+tt.want+"\n\n"+tt.twin+"\n")
			lines := strings.Split(grafted, "\n")
			assert.Equal(t, strings.Join(lines[twins[7].first-1:twins[7].last], "\n"), tt.twin)
		})
	}
}

// Several mutants, of one function and of several.
func TestGraftMany(t *testing.T) {
	const source = "package p\nfunc A() int { return 1 }\nfunc B() int { return 2 }\n"
	mutate := func(old, new string) string { return strings.Replace(source, old, new, 1) }
	grafted, _, twins, err := graft(source, map[int]string{
		1: mutate("1", "10"),
		2: mutate("2", "20"),
		3: mutate("1", "100"),
		4: mutate("package p", "package q"),
	})
	assert.NilError(t, err)
	assert.Equal(t, grafted, `package p
func A() int { switch chosenMutant { case 1: return A_mutant1(); case 3: return A_mutant3(); };  return 1 }
func B() int { switch chosenMutant { case 2: return B_mutant2(); };  return 2 }

func A_mutant1() int { return 10 }
func A_mutant3() int { return 100 }
func B_mutant2() int { return 20 }
`)
	assert.DeepEqual(t, twins, map[int]span{1: {5, 5}, 3: {6, 6}, 2: {7, 7}}, cmpopts.EquateComparable(span{}))
}

// A mistake in a twin costs its mutant, one elsewhere every mutant of the file.
func TestRemoveRefused(t *testing.T) {
	for _, tt := range []struct {
		name, words string
		want        map[string]map[int]string
		removed     bool
	}{
		{"in a twin", "# m/p\np/a.go:11:5: missing return\n", map[string]map[int]string{"p/a.go": {1: ""}, "b.go": {3: ""}}, true},
		{"in the root", "# m\n./b.go:20:2: declared and not used: a\n", map[string]map[int]string{"p/a.go": {1: "", 2: ""}, "b.go": {}}, true},
		{"in the overlay's folder", "# m/p\n../../tmp/mutate1/overlay22/p/a.go:9:5: missing return\n", map[string]map[int]string{"p/a.go": {2: ""}, "b.go": {3: ""}}, true},
		{"in no twin", "# m/p\np/a.go:3:1: no\n", map[string]map[int]string{"p/a.go": {}, "b.go": {3: ""}}, true},
		{"in another file", "# m/p\np/c.go:10:1: no\n", map[string]map[int]string{"p/a.go": {1: "", 2: ""}, "b.go": {3: ""}}, false},
		{"nowhere", "no space left on device", map[string]map[int]string{"p/a.go": {1: "", 2: ""}, "b.go": {3: ""}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			texts := map[string]map[int]string{"p/a.go": {1: "", 2: ""}, "b.go": {3: ""}}
			twins := map[string]map[int]span{"p/a.go": {1: {9, 10}, 2: {11, 12}}, "b.go": {3: {20, 20}}}
			assert.Check(t, is.Equal(removeRefused(texts, twins, tt.words), tt.removed))
			assert.Check(t, is.DeepEqual(texts, tt.want))
		})
	}
}

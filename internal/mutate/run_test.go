package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

const toyModule = "module toy\n\ngo 1.26.0\n"

const toyCode = `package toy

func Add(a, b int) int { return a + b }

func Loop(n int) { for i := 0; i < n; i++ { } }
`

const toyTest = `package toy

import (
	"fmt"
	"os"
	"testing"
)

func TestAdd(t *testing.T) {
	fmt.Print("words without an end of line")
	for _, a := range []int{1, 0} {
		t.Run(fmt.Sprint("a=", a), func(t *testing.T) {
			if Add(a, 1) != a+1 {
				t.Error("wrong")
			}
		})
	}
}

func TestNothing(t *testing.T) { Add(1, 2) }

// Notices what TestNothing does not: the one must not run for the other.
func TestNothingElse(t *testing.T) {
	if Add(1, 1) != 2 {
		t.Error("wrong")
	}
}

func TestSkip(t *testing.T) { t.Skip("no such machine") }

func TestFail(t *testing.T) { t.Error("fails anyway") }

func TestDies(t *testing.T) {
	if Add(1, 1) != 2 {
		os.Exit(3)
	}
}
`

// Every verdict, on a module small enough to see that it is the right one.
func TestVerdicts(t *testing.T) {
	t.Setenv("GOARCH", "") // this test may run emulated, the toy need not
	root, work := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"go.mod": toyModule, "toy.go": toyCode, "toy_test.go": toyTest} {
		assert.NilError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	r, err := newRunner(t.Context(), root, work)
	assert.NilError(t, err)

	const minus = "return a - b"
	cases := []struct {
		test, new string
		verdict   verdict
		detail    string
	}{
		{"TestAdd", minus, killed, ""},
		{"TestAdd/a=1", minus, killed, ""},
		{"TestAdd/a=1", "return b - a + 2*a*a", survived, "x.txt:1"},
		{"TestAdd/a=0", "return b - a + 2*a*a", survived, "x.txt:1"},
		{"TestAdd/a=1", "return b", killed, ""},
		{"TestAdd/a=0", "return b", survived, "x.txt:1"},
		{"TestNothing", minus, survived, "x.txt:1"},
		{"TestNothingElse", minus, killed, ""},
		{"TestDies", minus, killed, "the test's process died"},
		{"TestAdd", "return a +", broken, "with the change it does not build"},
		{"TestSkip", minus, skipped, "skips itself"},
		{"TestFail", minus, broken, "without the change the test fails"},
		{"TestAbsent", minus, broken, "no such test ran"},
		{"TestAdd/a=2", minus, broken, "no such test ran"},
	}
	var entries []entry
	for _, c := range cases {
		entries = append(entries, entry{"x.txt:1", c.test, ".", "toy.go", "return a + b", c.new})
	}
	unmutated := runUnmutated(t.Context(), r, entries)
	for i, c := range cases {
		name, v, detail := runMutant(t.Context(), r, "m", entries[i], unmutated["."])
		assert.Check(t, v == c.verdict, "%s, %s: %s, want %s: %s", c.test, c.new, v, c.verdict, detail)
		assert.Check(t, is.Contains(detail, c.detail))
		assert.Check(t, c.detail != "" || detail == "", detail)
		if v == killed || v == survived {
			assert.Check(t, is.Equal(name, "toy.go:3"))
		}
	}

	t.Run("hangs", func(t *testing.T) {
		overlay, _, err := r.overlay("hang", entry{File: "toy.go", Old: "{ return a + b }", New: "{ select {} }"})
		assert.NilError(t, err)
		o := r.run(t.Context(), "hang", ".", "^TestNothing$", overlay, 1e9)
		assert.Check(t, o.timedOut && o.failed && o.started, "%+v", o)
	})

	t.Run("tests that do not build", func(t *testing.T) {
		assert.NilError(t, os.WriteFile(filepath.Join(root, "bad_test.go"), []byte("package toy\nfunc"), 0o600))
		_, v, detail := runMutant(t.Context(), r, "m", entries[0], runUnmutated(t.Context(), r, entries)["."])
		assert.Equal(t, v, broken)
		assert.Check(t, strings.Contains(detail, "do not build"), detail)
	})
}

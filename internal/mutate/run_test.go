package main

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

const toyModule = "module toy\n\ngo 1.26.0\n"

const toyCode = `package toy

func Add(a, b int) int { return a + b }

func Box(n int) *int { return &n }

const one = 1

type Counter[T any] struct { n int; last T }

func (c *Counter[T]) Put(t T) { c.n++; c.last = t }
`

const toyTest = `package toy

import (
	"fmt"
	"os"
	"os/exec"
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

// Fails in the shared build, where Box is too much to be inlined.
func TestAllocs(t *testing.T) {
	got := 0
	allocs := testing.AllocsPerRun(10, func() { got = *Box(7) })
	if got != 7 || allocs != 0 {
		t.Error("wrong")
	}
}

func TestOne(t *testing.T) {
	if Add(one, 1) != 2 {
		t.Error("wrong")
	}
}

func TestCounter(t *testing.T) {
	var c Counter[string]
	c.Put("a")
	if c.n != 1 || c.last != "a" {
		t.Error("wrong")
	}
}

// The choice reaches a process that a test starts.
func TestChild(t *testing.T) {
	if os.Getenv("CHILD") != "" {
		os.Exit(Add(1, 1))
	}
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), "CHILD=1")
	child.Run()
	if child.ProcessState.ExitCode() != 2 {
		t.Error("wrong")
	}
}

// The choice reaches a command that a test builds.
func TestCommand(t *testing.T) {
	out, _ := exec.Command("go", "run", "./sum").CombinedOutput()
	if string(out) != "2" {
		t.Error("wrong", string(out))
	}
}
`

const toyCommand = `package main

import "toy"

func main() { print(toy.Add(1, 1)) }
`

// Every verdict, on a module small enough to see that it is the right one.
func TestVerdicts(t *testing.T) {
	t.Setenv("GOARCH", "") // this test may run emulated, the toy need not
	root := t.TempDir()
	assert.NilError(t, os.Mkdir(filepath.Join(root, "sum"), 0o700))
	for name, text := range map[string]string{"go.mod": toyModule, "toy.go": toyCode, "toy_test.go": toyTest, "sum/sum.go": toyCommand} {
		assert.NilError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	r, err := newRunner(t.Context(), root, t.TempDir())
	assert.NilError(t, err)

	const (
		plus, minus = "return a + b", "return a - b"
		survives    = "the test passes on broken code"
		box         = "{ return &n }"
	)
	cases := []struct {
		test, old, new string
		verdict        verdict
		alone          bool
		detail         string
	}{
		{"TestAdd", plus, minus, killed, false, ""},
		{"TestAdd/a=1", plus, minus, killed, false, ""},
		{"TestAdd/a=1", plus, "return b - a + 2*a*a", survived, false, survives},
		{"TestAdd/a=0", plus, "return b - a + 2*a*a", survived, false, survives},
		{"TestAdd/a=1", plus, "return b", killed, false, ""},
		{"TestAdd/a=0", plus, "return b", survived, false, survives},
		{"TestNothing", plus, minus, survived, false, survives},
		{"TestNothingElse", plus, minus, killed, false, ""},
		{"TestDies", plus, minus, killed, false, "the test's process died"},
		{"TestNothing", plus, "select {}", killed, false, "it hung for "},
		{"TestCounter", "c.n++", "c.n--", killed, false, ""},
		{"TestCounter", "c.last = t", "", killed, false, ""},
		{"TestChild", plus, minus, killed, false, ""},
		{"TestCommand", plus, minus, killed, false, ""},
		{"TestAllocs", box, "{ n++; defer func() {}(); return &n }", killed, true, ""},
		{"TestAllocs", box, "{ n--; defer func() {}(); return &n }", killed, true, ""},
		{"TestAllocs", box, "{ n += 0; return &n }", survived, true, survives},
		{"TestOne", "one = 1", "one = 2", killed, true, ""},
		{"TestNothing", "one = 1", "one = 2", survived, true, survives},
		{"TestAdd", plus, "return a +", broken, true, "with the change it does not build"},
		{"TestAdd", plus, "a++", broken, true, "missing return"},
		{"TestAdd", plus, `return "a"`, broken, true, "with the change it does not build"},
		{"TestAdd", "no such code", "", broken, false, "old does not occur in toy.go"},
		{"TestSkip", plus, minus, skipped, true, "skips itself"},
		{"TestFail", plus, minus, broken, true, "without the change the test fails"},
		{"TestAbsent", plus, minus, broken, true, "no such test ran"},
		{"TestAdd/a=2", plus, minus, broken, true, "no such test ran"},
	}
	var entries []entry
	for _, c := range cases {
		entries = append(entries, entry{"x.txt:1", c.test, ".", "toy.go", c.old, c.new})
	}
	findings, err := findAll(t.Context(), r, mutantsOf(root, entries))
	assert.NilError(t, err)
	assert.Equal(t, len(findings), len(cases))
	for _, f := range findings {
		c := cases[f.number-1]
		assert.Check(t, f.verdict == c.verdict && f.alone == c.alone, "want %s: %s", c.verdict, f)
		assert.Check(t, is.Contains(f.detail, c.detail))
		assert.Check(t, c.detail != "" || f.detail == "", f.detail)
		if c.old == plus {
			assert.Check(t, is.Contains(f.String(), " by toy.go:3"))
		}
	}

	t.Run("tests that do not build", func(t *testing.T) {
		assert.NilError(t, os.WriteFile(filepath.Join(root, "bad_test.go"), []byte("package toy\nfunc"), 0o600))
		r, err := newRunner(t.Context(), root, t.TempDir())
		assert.NilError(t, err)
		findings, err := findAll(t.Context(), r, mutantsOf(root, entries[:1]))
		assert.NilError(t, err)
		assert.Equal(t, findings[0].verdict, broken)
		assert.Check(t, is.Contains(findings[0].detail, "without the change the tests do not build"))
	})

	t.Run("code that does not build", func(t *testing.T) {
		assert.NilError(t, os.WriteFile(filepath.Join(root, "bad.go"), []byte("package toy\nvar x int = nil"), 0o600))
		_, err := findAll(t.Context(), r, mutantsOf(root, entries[:1]))
		assert.ErrorContains(t, err, "bad.go:2")
	})
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

const goodEntry = `test: TestDRV_04_ChainLoop
package: ./vring
file: vring/pop.go
old: if n > size {
new: if n > size+1 {
`

// edit returns goodEntry with one part replaced.
func edit(old, new string) string { return strings.Replace(goodEntry, old, new, 1) }

func TestParseList(t *testing.T) {
	good := entry{"x.txt:1", "TestDRV_04_ChainLoop", "./vring", "vring/pop.go", "if n > size {", "if n > size+1 {"}
	at := func(pos string, change func(*entry)) entry {
		e := good
		e.Pos = pos
		if change != nil {
			change(&e)
		}
		return e
	}
	for _, tt := range []struct {
		name, text string
		want       []entry
		wantErr    string
	}{
		{name: "empty"},
		{name: "only a comment", text: "# nothing yet\n\n"},
		{name: "one", text: goodEntry, want: []entry{good}},
		{name: "no newline at the end", text: strings.TrimSpace(goodEntry), want: []entry{good}},
		{name: "CRLF", text: strings.ReplaceAll(goodEntry, "\n", "\r\n"), want: []entry{good}},
		{
			name: "two, blank lines and comments around",
			text: "# head\n\n\n" + goodEntry + "\n\n# second\n" + edit("DRV_04", "DRV_05"),
			want: []entry{
				at("x.txt:4", nil),
				at("x.txt:12", func(e *entry) { e.Test = "TestDRV_05_ChainLoop" }),
			},
		},
		{
			name: "spaces belong to the code",
			text: edit("old: if", "old: \t  if"),
			want: []entry{at("x.txt:1", func(e *entry) { e.Old = "\t  if n > size {" })},
		},
		{
			name: "new is empty",
			text: edit("new: if n > size+1 {", "new:"),
			want: []entry{at("x.txt:1", func(e *entry) { e.New = "" })},
		},
		{
			name: "subtest, root package",
			text: edit("TestDRV_04_ChainLoop", "TestDRV_04/a,b=(1)") + "\n" + edit("./vring", "."),
			want: []entry{
				at("x.txt:1", func(e *entry) { e.Test = "TestDRV_04/a,b=(1)" }),
				at("x.txt:7", func(e *entry) { e.Package = "." }),
			},
		},
		{name: "missing key", text: edit("package: ./vring\n", ""), wantErr: `x.txt:2: want a line that starts with "package:", have "file: vring/pop.go"`},
		{name: "short", text: "test: TestX\npackage: ./vring\n", wantErr: `x.txt:3: the entry ends before "file:"`},
		{name: "no blank line between", text: goodEntry + goodEntry, wantErr: `x.txt:6: a blank line has to end the entry after "new:"`},
		{name: "blank line within", text: edit("file:", "\nfile:"), wantErr: `x.txt:3: the entry ends before "file:"`},
		{name: "unknown key", text: edit("file:", "File:"), wantErr: `x.txt:3: want a line that starts with "file:"`},
		{name: "no space", text: edit("old: ", "old:"), wantErr: `x.txt:4: want a space after "old:"`},
		{name: "test is a pattern", text: edit("TestDRV_04_ChainLoop", "^TestDRV"), wantErr: `x.txt:1: "^TestDRV" is no test name`},
		{name: "not a test", text: edit("TestDRV", "BenchmarkDRV"), wantErr: "x.txt:1:"},
		{name: "package without ./", text: edit("./vring", "vring"), wantErr: `x.txt:2: package "vring" has to read "./vring"`},
		{name: "package with a slash", text: edit("./vring", "./vring/"), wantErr: "x.txt:2:"},
		{name: "file outside", text: edit("vring/pop.go", "../pop.go"), wantErr: `x.txt:3: "../pop.go" is no Go file of this module`},
		{name: "file absolute", text: edit("vring/pop.go", "/pop.go"), wantErr: "x.txt:3:"},
		{name: "file with a space", text: edit("vring/pop.go", "vring/pop.go "), wantErr: "x.txt:3:"},
		{name: "file is a test", text: edit("pop.go", "pop_test.go"), wantErr: "x.txt:3: vring/pop_test.go is a test"},
		{name: "old is empty", text: edit("old: if n > size {", "old:"), wantErr: "x.txt:4: old is empty"},
		{name: "no change", text: edit("size+1", "size"), wantErr: "x.txt:5: new is the same as old"},
		{name: "twice", text: goodEntry + "\n" + goodEntry, want: []entry{good}, wantErr: "x.txt:7: the same entry as one above"},
		{
			name:    "every mistake is told, what is right is kept",
			text:    edit("old:", "Old:") + "\n" + goodEntry + "\n" + edit("file:", "File:"),
			want:    []entry{at("x.txt:7", nil)},
			wantErr: "x.txt:15:",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseList("x.txt", tt.text)
			assert.Check(t, is.DeepEqual(got, tt.want))
			if tt.wantErr == "" {
				assert.Check(t, err)
			} else {
				assert.Check(t, is.ErrorContains(err, tt.wantErr))
			}
		})
	}
}

func TestMutate(t *testing.T) {
	for _, tt := range []struct {
		name, source, old string
		want              string
		line              int
		wantErr           string
	}{
		{name: "first line", source: "a\nb\n", old: "a", want: "X\nb\n", line: 1},
		{name: "within the last line", source: "a\nb\nc cd d", old: "cd", want: "a\nb\nc X d", line: 3},
		{name: "absent", source: "a\n", old: "b", wantErr: "x.txt:1: old does not occur in f.go"},
		{name: "twice", source: "ab\nab\n", old: "ab", wantErr: "x.txt:1: old occurs more than once in f.go"},
		{name: "overlapping", source: "aaa", old: "aa", wantErr: "more than once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, line, err := entry{Pos: "x.txt:1", File: "f.go", Old: tt.old, New: "X"}.mutate(tt.source)
			if tt.wantErr != "" {
				assert.ErrorContains(t, err, tt.wantErr)
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, got, tt.want)
			assert.Equal(t, line, tt.line)
		})
	}
}

// The lists that ship parse, and each change still finds its one place.
func TestListsFitTheCode(t *testing.T) {
	entries, err := readLists("mutations")
	assert.NilError(t, err)
	for _, e := range entries {
		source, err := os.ReadFile(filepath.Join("../..", e.File))
		assert.NilError(t, err, e.Pos)
		_, _, err = e.mutate(string(source))
		assert.Check(t, err)
	}
}

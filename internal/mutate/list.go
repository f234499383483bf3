package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An entry is one broken line and the test that has to notice it.
type entry struct {
	Pos     string // file:line of the entry itself, for messages
	Test    string // test name, subtests separated by /
	Package string // package of the test, as ./vring
	File    string // file to break, relative to the module's root
	Old     string // what to break: occurs exactly once in File
	New     string // what to put in its place
}

var (
	keys     = []string{"test", "package", "file", "old", "new"}
	testName = regexp.MustCompile(`^(Test|Fuzz)\w*(/[^/\s]+)*$`)
)

// readLists reads every list of the folder, and reports every mistake in them
// at once.
func readLists(dir string) ([]entry, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var (
		all  []entry
		errs []error
	)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		entries, err := parseList(filepath.Base(name), string(text))
		errs = append(errs, err)
		all = append(all, entries...)
	}
	return all, errors.Join(errs...)
}

// parseList parses one list: blocks of "key: value" lines in the order of keys,
// with blank lines between blocks. A line that starts with # is a comment.
func parseList(name, text string) ([]entry, error) {
	var (
		entries []entry
		errs    []error
		block   []string
		start   int
	)
	end := func() {
		if len(block) == 0 {
			return
		}
		e, err := parseBlock(name, start, block)
		if err != nil {
			errs = append(errs, err)
		} else if slices.ContainsFunc(entries, func(o entry) bool { return o.same(e) }) {
			errs = append(errs, fmt.Errorf("%s: the same entry as one above", e.Pos))
		} else {
			entries = append(entries, e)
		}
		block = nil
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case strings.TrimSpace(line) == "":
			end()
			continue
		case len(block) == 0:
			start = i + 1
		}
		block = append(block, line)
	}
	end()
	return entries, errors.Join(errs...)
}

// parseBlock parses the lines of one entry; start is the number of its first.
func parseBlock(name string, start int, lines []string) (entry, error) {
	fail := func(i int, format string, args ...any) (entry, error) {
		return entry{}, fmt.Errorf("%s:%d: %s", name, start+i, fmt.Sprintf(format, args...))
	}
	var values [5]string
	for i, line := range lines {
		if i == len(keys) {
			return fail(i, "a blank line has to end the entry after %q", keys[i-1]+":")
		}
		value, ok := strings.CutPrefix(line, keys[i]+":")
		if !ok {
			return fail(i, "want a line that starts with %q, have %q", keys[i]+":", line)
		}
		// Only the one space is ours: the rest is part of the code.
		if value, ok = strings.CutPrefix(value, " "); !ok && value != "" {
			return fail(i, "want a space after %q", keys[i]+":")
		}
		values[i] = value
	}
	if len(lines) < len(keys) {
		return fail(len(lines), "the entry ends before %q", keys[len(lines)]+":")
	}
	e := entry{
		Pos:     fmt.Sprintf("%s:%d", name, start),
		Test:    values[0],
		Package: values[1],
		File:    values[2],
		Old:     values[3],
		New:     values[4],
	}
	switch {
	case !testName.MatchString(e.Test):
		return fail(0, "%q is no test name", e.Test)
	case e.Package != "." && e.Package != cleanPackage(e.Package):
		return fail(1, "package %q has to read %q", e.Package, cleanPackage(e.Package))
	case !strings.HasSuffix(e.File, ".go") || path.IsAbs(e.File) || path.Clean(e.File) != e.File || strings.HasPrefix(e.File, "../"):
		return fail(2, "%q is no Go file of this module", e.File)
	case strings.HasSuffix(e.File, "_test.go"):
		return fail(2, "%s is a test: break the code that ships", e.File)
	case e.Old == "":
		return fail(3, "old is empty")
	case e.Old == e.New:
		return fail(4, "new is the same as old")
	}
	return e, nil
}

// same tells whether both entries make the same change for the same test.
func (e entry) same(o entry) bool {
	e.Pos, o.Pos = "", ""
	return e == o
}

// mutate returns the file with the change made, and the line it is on.
func (e entry) mutate(source string) (mutated string, line int, err error) {
	before, after, found := strings.Cut(source, e.Old)
	switch {
	case !found:
		return "", 0, fmt.Errorf("%s: old does not occur in %s", e.Pos, e.File)
	// From the second byte of the match: an occurrence that overlaps the first
	// leaves it as open which one is meant.
	case strings.Contains(source[len(before)+1:], e.Old):
		return "", 0, fmt.Errorf("%s: old occurs more than once in %s", e.Pos, e.File)
	}
	return before + e.New + after, 1 + strings.Count(before, "\n"), nil
}

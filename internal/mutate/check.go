package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// idTests matches the tests named after the id of a requirement or of a
// directed test: TestRING_18_…, TestT18_….
const idTests = `^Test([A-Z0-9]+_[0-9]+|T[0-9]+_)`

// checkComplete requires an entry for every test named after an id.
func checkComplete(ctx context.Context, root string, entries []entry, allowMissing bool) error {
	module, err := goOutput(ctx, root, "list", "-m")
	if err != nil {
		return err
	}
	listing, err := goOutput(ctx, root, "test", "-list", idTests, "./...")
	if err != nil {
		return err
	}
	tests := parseListing(module, listing)
	missing := missingTests(tests, entries)
	for _, t := range missing {
		fmt.Printf("no entry: %s %s\n", t.pkg, t.name)
	}
	fmt.Printf("%d tests are named after an id, %d of them without an entry\n", len(tests), len(missing))
	switch {
	case len(tests) == 0:
		return errors.New("no test is named after an id")
	case len(missing) > 0 && !allowMissing:
		return errors.New("the mutation lists are not complete")
	}
	return nil
}

// A listedTest is one top-level test of a package, as ./vring.
type listedTest struct{ pkg, name string }

// parseListing reads what go test -list prints: the names of a package's tests,
// then the line of the package itself.
func parseListing(module, listing string) []listedTest {
	var (
		tests []listedTest
		names []string
		isID  = regexp.MustCompile(idTests)
	)
	for s := bufio.NewScanner(strings.NewReader(listing)); s.Scan(); {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) == 1 && isID.MatchString(fields[0]):
			names = append(names, fields[0])
		case len(fields) >= 2 && fields[0] == "ok":
			pkg := "." + strings.TrimPrefix(fields[1], module)
			for _, name := range names {
				tests = append(tests, listedTest{pkg, name})
			}
			names = nil
		}
	}
	return tests
}

// missingTests returns the tests that no entry names; an entry for a subtest
// counts for its test.
func missingTests(tests []listedTest, entries []entry) []listedTest {
	have := map[listedTest]bool{}
	for _, e := range entries {
		top, _, _ := strings.Cut(e.Test, "/")
		have[listedTest{e.Package, top}] = true
	}
	var missing []listedTest
	for _, t := range tests {
		if !have[t] {
			missing = append(missing, t)
		}
	}
	return missing
}

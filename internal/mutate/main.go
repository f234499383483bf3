// Command mutate shows that the tests can fail: it breaks one line of the
// library at a time, as the lists under internal/mutate/mutations say, and
// requires the test named beside that line to notice.
//
// Nothing in the tree is touched; the broken files reach the compiler through
// go's -overlay. Nearly every change shares one test binary a package with the
// others: the function that it is in has a broken twin there, and an environment
// variable chooses the twin. What is no part of a function's body gets a binary
// of its own, and so does what a test needs that fails in the shared one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		pkg          = flag.String("package", "", "only the entries of this package (./vring)")
		test         = flag.String("test", "", "only the entries whose test matches this regular expression")
		list         = flag.Bool("list", false, "print the entries and stop")
		check        = flag.Bool("check", false, "require an entry for every test named after an id, run nothing")
		allowMissing = flag.Bool("allow-missing", false, "with -check: report the tests without an entry, but succeed")
	)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	testRE, err := regexp.Compile(*test)
	if err != nil {
		return err
	}
	root, err := goOutput(ctx, "", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	entries, err := readLists(filepath.Join(root, "internal/mutate/mutations"))
	if err != nil {
		return err
	}
	selected := entries[:0:0]
	for _, e := range entries {
		if (*pkg == "" || e.Package == cleanPackage(*pkg)) && testRE.MatchString(e.Test) {
			selected = append(selected, e)
		}
	}
	switch {
	case *list:
		for _, e := range selected {
			fmt.Printf("%s: %s %s %s\n", e.Pos, e.Package, e.Test, e.File)
		}
		return nil
	case *check:
		return checkComplete(ctx, root, entries, *allowMissing)
	case len(selected) == 0:
		return errors.New("no entry selected")
	}
	return runMutations(ctx, root, selected)
}

// cleanPackage accepts a package as a person types it: vring, ./vring, ./vring/.
func cleanPackage(name string) string {
	return "./" + filepath.ToSlash(filepath.Clean(name))
}

// goOutput runs the go command in dir and returns what it printed.
func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A runner builds and runs test binaries. Building apart from running is what
// tells a mutant that does not compile from one that a test noticed.
type runner struct {
	root    string // of the module
	work    string // folder for everything made on the way
	goflags string // GOFLAGS as they are set on this machine
}

func newRunner(ctx context.Context, root, work string) (*runner, error) {
	goflags, err := goOutput(ctx, root, "env", "GOFLAGS")
	return &runner{root, work, goflags}, err
}

// An outcome is what one run of a test binary did.
type outcome struct {
	build    string            // the compiler's words, if it did not build
	failed   bool              // the process did not exit with 0
	timedOut bool              // it was ended for taking too long
	started  bool              // at least one test began
	results  map[string]string // PASS, FAIL or SKIP by test name
	output   string
}

// overlay writes the broken file of e and the overlay that puts it in place,
// and returns the overlay's name and the line broken.
func (r *runner) overlay(id string, e entry) (name string, line int, err error) {
	path := filepath.Join(r.root, e.File)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", 0, err
	}
	mutated, line, err := e.mutate(string(source))
	if err != nil {
		return "", 0, err
	}
	file := filepath.Join(r.work, id+".go")
	if err := os.WriteFile(file, []byte(mutated), 0o600); err != nil {
		return "", 0, err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: file}})
	if err != nil {
		return "", 0, err
	}
	name = filepath.Join(r.work, id+".json")
	return name, line, os.WriteFile(name, text, 0o600)
}

// run builds the tests of pkg, with an overlay or "", and runs those that match
// pattern.
func (r *runner) run(ctx context.Context, id, pkg, pattern, overlay string, timeout time.Duration) outcome {
	env := os.Environ()
	if overlay != "" {
		// In GOFLAGS, so that a command which the test itself builds is broken too.
		env = append(env, strings.TrimSpace("GOFLAGS="+r.goflags+" '-overlay="+overlay+"'"))
	}
	binary := filepath.Join(r.work, id+".test")
	defer os.Remove(binary)
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg)
	build.Dir, build.Env = r.root, env
	if out, err := build.CombinedOutput(); err != nil {
		return outcome{build: err.Error() + "\n" + string(out)}
	}
	if _, err := os.Stat(binary); err != nil {
		return outcome{} // the package has no tests
	}

	// To a file: a child that a test leaves behind would keep a pipe open.
	log, err := os.Create(filepath.Join(r.work, id+".log"))
	if err != nil {
		return outcome{build: err.Error()}
	}
	defer log.Close()
	// The binary's own timeout prints where it hung; ours is for when it cannot.
	ctx, cancel := context.WithTimeout(ctx, timeout+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run="+pattern, "-test.v=test2json", "-test.timeout="+timeout.String())
	cmd.Dir = filepath.Join(r.root, pkg)
	cmd.Env = append(env, "PWD="+cmd.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own, so that what a dying test started dies with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	killGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killGroup
	err = cmd.Run()
	if cmd.Process != nil {
		_ = killGroup() // fails when nothing is left, as it should be
	}
	output, readErr := os.ReadFile(log.Name())
	if readErr != nil {
		return outcome{build: readErr.Error()}
	}
	o := parseOutput(output)
	o.failed = err != nil
	o.timedOut = ctx.Err() != nil || strings.Contains(o.output, "panic: test timed out after ")
	return o
}

// In test2json mode the testing package marks its own lines with a control
// character, so that what a test prints is not taken for them.
var resultLine = regexp.MustCompile(`\x16--- (PASS|FAIL|SKIP): (\S+) \(`)

func parseOutput(output []byte) outcome {
	o := outcome{
		started: bytes.Contains(output, []byte("\x16=== RUN ")),
		results: map[string]string{},
		output:  strings.ReplaceAll(string(output), "\x16", ""),
	}
	for _, m := range resultLine.FindAllSubmatch(output, -1) {
		o.results[string(m[2])] = string(m[1])
	}
	return o
}

// tail returns the last lines of the output.
func (o outcome) tail() string {
	lines := strings.Split(strings.TrimSpace(o.output), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// runPattern is the -run pattern that matches the one test, or subtest.
func runPattern(test string) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A runner builds and runs test binaries. Building apart from running is what
// tells a mutant that does not compile from one that a test noticed.
type runner struct {
	root    string // of the module
	work    string // folder for everything made on the way
	goflags string // GOFLAGS as they are set on this machine

	mu   sync.Mutex
	once map[[2]string]func() binary // by package and overlay
}

func newRunner(ctx context.Context, root, work string) (*runner, error) {
	goflags, err := goOutput(ctx, root, "env", "GOFLAGS")
	return &runner{root: root, work: work, goflags: goflags, once: map[[2]string]func() binary{}}, err
}

// overlay writes files, by their name in the module, and the overlay that puts
// them in place, and returns the overlay's name.
func (r *runner) overlay(files map[string]string) (string, error) {
	dir, err := os.MkdirTemp(r.work, "overlay")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(r.root, name)] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, text, 0o600)
}

// environ is the environment for what is built with the overlay. It is in
// GOFLAGS, so that a command which a test itself builds is broken too.
func (r *runner) environ(overlay string) []string {
	if overlay == "" {
		return os.Environ()
	}
	return append(os.Environ(), strings.TrimSpace("GOFLAGS="+r.goflags+" '-overlay="+overlay+"'"))
}

// A binary holds the tests of a package, built with an overlay or "".
type binary struct {
	pkg, overlay string
	file         string // "" if the package has no tests, or they do not build
	refused      string // the compiler's words, if they do not build
}

func (r *runner) build(ctx context.Context, pkg, overlay string) binary {
	b := binary{pkg: pkg, overlay: overlay}
	dir, err := os.MkdirTemp(r.work, "binary")
	if err != nil {
		b.refused = err.Error()
		return b
	}
	file := filepath.Join(dir, "test")
	// Without vet: what it refuses has to be noticed all the same. Without what
	// only a debugger needs: it is a third of the linker's time.
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-w", "-o", file, pkg)
	cmd.Dir, cmd.Env = r.root, r.environ(overlay)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.refused = err.Error() + "\n" + string(out)
	} else if _, err := os.Stat(file); err == nil {
		b.file = file
	}
	return b
}

// kept is build for a binary that many need.
func (r *runner) kept(ctx context.Context, pkg, overlay string) binary {
	key := [2]string{pkg, overlay}
	r.mu.Lock()
	once := r.once[key]
	if once == nil {
		once = sync.OnceValue(func() binary { return r.build(ctx, pkg, overlay) })
		r.once[key] = once
	}
	r.mu.Unlock()
	return once()
}

// An outcome is what one run of a test binary did.
type outcome struct {
	refused  string            // the compiler's words, if it did not build
	failed   bool              // the process did not exit with 0
	timedOut bool              // it was ended for taking too long
	started  bool              // at least one test began
	results  map[string]string // PASS, FAIL or SKIP by test name
	output   string
	took     time.Duration
}

// grace is for a test's process to say where it hung, before it is killed.
const grace = 10 * time.Second

// run runs the one test, or subtest, with a mutant chosen or 0.
func (r *runner) run(ctx context.Context, b binary, test string, mutant int, timeout time.Duration) (o outcome) {
	if b.file == "" {
		return outcome{refused: b.refused}
	}
	// To a file: a child that a test leaves behind would keep a pipe open.
	log, err := os.CreateTemp(r.work, "log")
	if err != nil {
		return outcome{refused: err.Error()}
	}
	defer os.Remove(log.Name())
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout+grace)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.file, "-test.run="+runPattern(test), "-test.v=test2json", "-test.timeout="+timeout.String())
	cmd.Dir = filepath.Join(r.root, b.pkg)
	cmd.Env = append(r.environ(b.overlay), "PWD="+cmd.Dir, fmt.Sprint(chosenEnv, "=", mutant))
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own, so that what a dying test started dies with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	killGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killGroup
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if cmd.Process != nil {
		_ = killGroup() // fails when nothing is left, as it should be
	}
	output, readErr := os.ReadFile(log.Name())
	if readErr != nil {
		return outcome{refused: readErr.Error()}
	}
	o = parseOutput(output)
	o.failed = err != nil
	o.timedOut = ctx.Err() != nil || strings.Contains(o.output, "panic: test timed out after ")
	o.took = took
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

// passed tells whether the test passed and nothing else failed.
func (o outcome) passed(test string) bool { return o.results[test] == "PASS" && !o.failed }

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

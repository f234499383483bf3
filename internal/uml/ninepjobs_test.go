package uml

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// programs are checks by programs that were written to find fault with file systems.
var programs = []check{
	{name: "dbench", slow: true, script: `head -n 6000 $(ls /usr/share/dbench/client.txt /tools/usr/share/dbench/client.txt 2>/dev/null | head -1) >/tmp/load; dbench -c /tmp/load -D . -t 2 3 >log 2>&1 || { cat log; exit 1; }; ! grep -i -e failed -e mismatch -e error log; grep Throughput log`},
	{name: "fio", slow: true, script: `fio --name=v --directory=. --rw=randrw --bsrange=512-32k --size=2m --numjobs=2 --thread --ioengine=psync --fallocate=none --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=1 --minimal >log 2>&1 || { cat log; exit 1; }; ! grep -i -e 'verify:' -e 'err=' log`},
}

// walk has the guest wander about in a file.
func walk(h *house, folder string, ops int, mmap bool) error {
	if err := os.MkdirAll(filepath.Join(h.dir, folder), 0o755); err != nil {
		return err
	}
	var r talk.WanderResult
	args := talk.WanderArgs{Path: folder + "/f", Seed: uint64(unix.Getpid()), Ops: ops, Mmap: mmap}
	if err := h.do("wander", args, &r); err != nil {
		return err
	}
	h.log("seed %d: %d operations in %.1f s: %v", args.Seed, ops, r.Seconds, r.Counts)
	return nil
}

// together is SQLite in the guest and on the host, on one database: what keeps them apart are locks.
func together(h *house, folder string) error {
	dir := filepath.Join(h.dir, folder)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	work := func(who string) string {
		return fmt.Sprintf(`(echo .timeout 60000; for i in $(seq 30); do echo "insert into t values('%s', (select count(*) from t));"; done) | sqlite3 -bail db`, who)
	}
	onHost := func(script string) ([]byte, error) {
		cmd := exec.CommandContext(h.ctx, "/bin/sh", "-ec", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+h.tools+"/usr/bin", "LD_LIBRARY_PATH="+h.tools+"/usr/lib/x86_64-linux-gnu")
		return cmd.CombinedOutput()
	}
	if out, err := onHost(`sqlite3 db 'create table t(who, n unique)'`); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	host := make(chan error, 1)
	go func() {
		out, err := onHost(work("host"))
		if err != nil {
			err = fmt.Errorf("the host's: %w: %s", err, out)
		}
		host <- err
	}()
	err := check{name: "sqlite with the host", script: work("guest"), seconds: 60}.run(h, folder)
	if err := <-host; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	out, err := onHost(`sqlite3 db 'select count(*), max(n) from t; pragma integrity_check'`)
	if err != nil || string(out) != "60|59\nok\n" {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// lockRoundabout is about byte ranges that the guest and somebody on the host want.
func lockRoundabout(h *house, folder string) error {
	if err := os.MkdirAll(filepath.Join(h.dir, folder), 0o777); err != nil {
		return err
	}
	path := folder + "/f"
	f, err := os.OpenFile(filepath.Join(h.dir, path), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	host := func(kind int16, start, length int64, want error) error {
		l := unix.Flock_t{Type: kind, Start: start, Len: length}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != want {
			return fmt.Errorf("the host's lock %v: %v, expected was %v", l, err, want)
		}
		return nil
	}
	guest := func(command, kind string, start, length int64, want string) error {
		var r talk.LockResult
		if err := h.do("locks", talk.LockArgs{Path: path, Command: command, Type: kind, Start: start, Length: length}, &r); err != nil {
			return err
		}
		got := r.Error
		if command == "get" {
			got = strings.TrimSpace(fmt.Sprintf("%s %s %d %d", r.Error, r.Type, r.Start, r.Length))
		}
		if got != want {
			return fmt.Errorf("the guest's %s of a lock to %s from %d: %q, expected was %q", command, kind, start, got, want)
		}
		return nil
	}
	script := func(text, want string) error { return check{name: "flock", script: text, want: want}.run(h, folder) }
	steps := []func() error{
		func() error { return guest("get", "write", 0, 0, "none 0 0") },
		func() error { return host(unix.F_WRLCK, 10, 10, nil) },
		func() error { return guest("get", "write", 0, 0, "write 10 10") },
		func() error { return guest("get", "read", 12, 1, "write 10 10") },
		func() error { return guest("get", "write", 0, 10, "none 0 10") },
		func() error { return guest("set", "read", 0, 5, "") },
		func() error { return guest("set", "write", 15, 1, "EAGAIN") },
		func() error { return host(unix.F_WRLCK, 0, 1, unix.EAGAIN) }, // the guest reads there
		func() error { return host(unix.F_RDLCK, 0, 1, nil) },
		func() error { return guest("set", "write", 0, 1, "EAGAIN") },
		func() error {
			return script(`flock -n f true || echo busy; timeout 0.3 flock f true || echo $?`, "busy 124")
		},
		func() error { // it waits until it gets it
			unlocked := make(chan error, 1)
			go func() { unlocked <- host(unix.F_UNLCK, 0, 0, nil) }()
			err := guest("wait", "write", 0, 20, "")
			if err := <-unlocked; err != nil {
				return err
			}
			return err
		},
		func() error { return host(unix.F_RDLCK, 19, 1, unix.EAGAIN) },
		func() error { return host(unix.F_WRLCK, 20, 0, nil) },
		func() error { return guest("set", "none", 10, 5, "") }, // a hole in the middle
		func() error { return host(unix.F_WRLCK, 10, 5, nil) },
		func() error { return host(unix.F_WRLCK, 9, 1, unix.EAGAIN) },
		func() error { return guest("close", "", 0, 0, "") },
		func() error { return host(unix.F_WRLCK, 0, 0, nil) },
		func() error { return host(unix.F_UNLCK, 0, 0, nil) },
		func() error { return script(`flock -n f echo mine`, "mine") },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			_ = guest("close", "", 0, 0, "") // or the share stays in use
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// people are who makes the calls of the rights.
var people = map[string]talk.Call{
	"root": {}, "ada": {UID: 1001, GID: 1001, Groups: []int{2000}}, "bob": {UID: 1002, GID: 1002, Groups: []int{2000}}, "eve": {UID: 1003, GID: 1003},
}

// parseCall reads a line of the rights: who, call, path, what else it takes, and after = the error.
func parseCall(line string) (c talk.Call, want string, err error) {
	text, want, _ := strings.Cut(line, "=")
	f := strings.Fields(text)
	if len(f) < 3 {
		return c, "", fmt.Errorf("%q is no call", line)
	}
	c, ok := people[f[0]]
	if !ok {
		return c, "", fmt.Errorf("who is %q?", f[0])
	}
	c.Name, c.Path, f = f[1], f[2], f[3:]
	if slices.Contains([]string{"open", "rename", "link", "symlink", "setxattr"}, c.Name) {
		c.Other, f = f[0], f[1:]
	}
	for i, to := range []*int{&c.A, &c.B} {
		if i < len(f) {
			n, err := strconv.ParseInt(f[i], 0, 0)
			if err != nil {
				return c, "", err
			}
			*to = int(n)
		}
	}
	return c, strings.TrimSpace(want), nil
}

// may lets people do what they may and what they may not.
func may(h *house, folder, lines string) error {
	var calls []talk.Call
	var wants, texts []string
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		c, want, err := parseCall(line)
		if err != nil {
			return err
		}
		calls, wants, texts = append(calls, c), append(wants, want), append(texts, strings.TrimSpace(line))
	}
	var got []string
	if err := h.do("calls", talk.CallsArgs{Dir: folder, Calls: calls}, &got); err != nil {
		return err
	}
	var wrong []string
	for i, want := range wants {
		if got[i] != want {
			wrong = append(wrong, fmt.Sprintf("%s: %q", texts[i], got[i]))
		}
	}
	if wrong != nil {
		return fmt.Errorf("not as expected:\n%s", strings.Join(wrong, "\n"))
	}
	return nil
}

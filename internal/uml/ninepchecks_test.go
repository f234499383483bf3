package uml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// A check is a shell's script in a folder of the share, and what has come of it there and on the
// host.
type check struct {
	name    string
	prepare func(dir string) error // on the host
	script  string                 // its errors end it
	want    string                 // what it prints; * is any text without a space
	verify  func(dir, output string) error
	root    bool // needs a host that may give files away
	slow    bool // done once
	seconds int  // more than any takes; 0 is 20
}

// run runs the check in a folder of its own.
func (c check) run(h *house, folder string) error {
	dir := filepath.Join(h.dir, folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if c.prepare != nil {
		if err := c.prepare(dir); err != nil {
			return err
		}
	}
	var r talk.ScriptResult
	if err := h.do("script", talk.ScriptArgs{Dir: folder, Text: c.script, Seconds: max(c.seconds, 20)}, &r); err != nil {
		return err
	}
	h.log("%s: %.2f s", c.name, r.Seconds)
	if r.Failed != "" {
		return fmt.Errorf("%s after %q", r.Failed, lastLines(r.Output, 20))
	}
	if c.want != "" && !like(strings.Fields(r.Output), strings.Fields(c.want)) {
		return fmt.Errorf("it printed %q, expected was %q", r.Output, c.want)
	}
	if c.verify == nil {
		return nil
	}
	return c.verify(dir, r.Output)
}

func like(got, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != want[i] && want[i] != "*" {
			return false
		}
	}
	return true
}

// tree makes some files of each kind, with modes and times of their own.
const tree = `
mkdir -p src/sub/empty; echo one >src/one; echo two >src/sub/two; chmod 640 src/one; chmod 4711 src/sub/two
ln -s ../one src/sub/link; ln src/one src/hard; mkfifo src/fifo; chmod 2750 src/sub
touch -d '2001-02-03 04:05:06.123456789' src/one src/sub/empty; touch -h -d '1999-12-31 23:59:59.5' src/sub/link
list() { (cd $1 && find . -printf '%p %y %m %U:%G %n %Ts %l\n' | grep -v '^[.] ' | sort); }
`

// manyFiles is how many entries the long directory has.
const manyFiles = 5000

// checks are what a guest does all day.
var checks = []check{
	{name: "append", script: `printf one >f; printf two >>f; printf three >>f; cat f`, want: "onetwothree"},
	{name: "chmod", script: `touch f; chmod 640 f; stat -c %a f; chmod u+x,g=,o=r f; stat -c %a f`, want: "640 704", verify: hasMode("f", 0o704)},
	{name: "setuid", script: `touch f; chmod 4755 f; stat -c %a f; chmod 2711 f; stat -c %a f; chmod 6755 f; stat -c %a f`, want: "4755 2711 6755", verify: hasMode("f", 0o6755)},
	{name: "sticky", script: `mkdir -m 1777 d; stat -c %a d`, want: "1777", verify: hasMode("d", 0o1777)},
	{name: "umask", script: `umask 027; touch f; mkdir d; stat -c %a f d`, want: "640 750"},
	{name: "chown", root: true, script: `touch f; chown 1234:4321 f; stat -c %u:%g f; chown :99 f; stat -c %u:%g f; ln -s f l; chown -h 7:8 l; stat -c %u:%g l f`,
		want: "1234:4321 1234:99 7:8 1234:99"},
	// Linux's client sets whole seconds, whatever the server can do; what it sees is finer.
	{name: "times", prepare: ancient("g"), script: `touch -d '2001-02-03 04:05:06' f; stat -c %y f; touch -a -d '2002-01-01' f; stat -c '%x %y' f; touch f; test f -nt g; stat -c %y g`,
		want: "2001-02-03 04:05:06.000000000 +0000 2002-01-01 00:00:00.000000000 +0000 2001-02-03 04:05:06.000000000 +0000 1970-01-01 00:00:01.000000002 +0000"},
	{name: "cp -a", script: tree + `cp -a src dst; list src >a; list dst >b; cmp a b; wc -l <a`, want: "7"},
	{name: "tar", slow: true, script: tree + `mkdir dst; tar cf - -C src . | tar xpf - -C dst; list src >a; list dst >b; cmp a b; wc -l <a`, want: "7"},
	{name: "rsync", slow: true, script: tree + `rsync -aH src/ dst/; list src >a; list dst >b; cmp a b; wc -l <a`, want: "7"},
	{name: "many files", prepare: makeFiles(manyFiles), script: `cd many; ls | wc -l; ls -U | sort -u | wc -l; ls | head -1; cd ..; rm -rf many; ls`,
		want: fmt.Sprint(manyFiles, manyFiles, " file00000"), verify: isGone("many"), slow: true, seconds: 40},
	{name: "df", script: `stat -f -c '%b %S %c %l' .; df . >/dev/null`, verify: sameStatfs},
	{name: "mkfifo", script: `mkfifo -m 600 p; stat -c '%F %a' p; echo hi >p & cat p; wait`, want: "fifo 600 hi"},
	{name: "unlinked", script: `perl -e '
		open(F, "+>", "f") or die; syswrite(F, "hello world") == 11 or die "write $!"; unlink("f") or die "unlink $!"; -e "f" and die "still there";
		truncate(F, 5) or die "truncate $!"; my @s = stat(F); $s[7] == 5 or die "size $s[7]"; $s[3] == 0 or die "links $s[3]";
		chmod(0600, *F) or die "chmod $!"; sysseek(F, 5, 0); syswrite(F, "!") == 1 or die; sysseek(F, 0, 0); sysread(F, $b, 99) == 6 or die; print $b'; ls`, want: "hello!"},
	{name: "hard links", script: `echo a >f; ln f g; stat -c %h f; test f -ef g; echo b >>g; cat f; rm f; stat -c %h g; cat g`, want: "2 a b 1 a b"},
	{name: "rename", script: `mkdir a b; echo 1 >a/f; mv a/f b/g; cat b/g; echo 2 >h; mv -f h b/g; cat b/g; mv b c; cat c/g; mkdir c/d; mv c/d e; test -d e; ls; ! mv -T a c 2>/dev/null`,
		want: "1 2 2 a c e"},
	{name: "open and renamed", script: `echo one >f; exec 3<f 4>>f; mv f g; echo two >&4; cat <&3; mkdir d; mv g d/h; echo three >&4; cat d/h`, want: "one two one two three"},
	{name: "symlinks", script: `ln -s /etc/passwd l; readlink l; echo x >f; ln -s f r; cat r; echo y >>r; cat f; ln -s nowhere n; test ! -e n; stat -c %F n; ! ln -s f r 2>/dev/null; rm r; cat f`,
		want: "/etc/passwd x x y symbolic link x y"},
	{name: "xattrs", script: `touch f; setfattr -n user.k -v value f; getfattr --only-values -n user.k f; echo; setfattr -n user.z -v $(head -c 2000 /dev/zero | tr '\0' z) f; getfattr --only-values -n user.z f | wc -c
		getfattr f | grep -c user; setfattr -x user.z f; getfattr f | grep -c user; ! getfattr -n user.z f 2>/dev/null`, want: "value 2000 2 1", verify: hasAttribute("f", "user.k", "value")},
	{name: "names", script: `n=$(printf %0255d 1); echo 1 >$n; cat $n; mv $n 'a b'; cat 'a b'; mv 'a b' "$(printf 'x\ny')"; ls | wc -l; rm x*; echo 2 >'—☃'; cat *; ! touch $(printf %0256d 1) 2>/dev/null`, want: "1 1 2 2"},
	{name: "deep", script: `d=.; for i in $(seq 40); do d=$d/a-name-of-some-length; done; mkdir -p $d; echo deep >$d/f; cat $d/f; (cd $d && pwd | wc -c); rm -r a-name-of-some-length; ls`, want: "deep *"},
	{name: "dd", script: `dd if=/dev/urandom of=f bs=1M count=4 conv=fsync 2>/dev/null; sum=$(md5sum <f); dd if=f of=g bs=4097 2>/dev/null; cmp f g; sync g; test "$sum" = "$(md5sum <g)"; stat -c %s g`, want: "4194304"},
	{name: "sparse", script: `truncate -s 1T f; stat -c '%s %b' f; printf x | dd of=f bs=1 seek=1000000000000 conv=notrunc 2>/dev/null; dd if=f bs=1 skip=999999999999 count=2 2>/dev/null | od -An -tx1; truncate -s 3 f; stat -c %s f`,
		want: "1099511627776 0 00 78 3"},
	{name: "run", script: `cp /usr/bin/env e; ./e echo hi; printf '#!/bin/sh\necho $0' >s; chmod +x s; ./s; chmod -x s; ! ./s 2>/dev/null`, want: "hi ./s"},
	{name: "git", script: `git init -q -b main a; cd a; for i in 1 2; do for j in $(seq 10); do echo $i $j >f$j; done; git add .; git commit -q -m $i; done; cd ..
		git clone -q a b; git -C b fsck --strict --no-progress; git -C b log --oneline | wc -l; git -C b status --porcelain; cmp a/f7 b/f7`, want: "2", slow: true, seconds: 60},
	{name: "sqlite", script: `sqlite3 db 'create table t(who, n, unique(who, n))'
		work() { (echo .timeout 30000; for i in $(seq 20); do echo "insert into t values('$1', $i); select count(*) from t where who='$1';"; done) | sqlite3 db >$1; }
		work a & work b & wait; cmp a b; sqlite3 db 'select count(*) from t; pragma integrity_check'; ls`, want: "40 ok a b db", seconds: 60},
}

func hasMode(name string, mode uint32) func(dir, output string) error {
	return func(dir, _ string) error {
		var s unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &s); err != nil {
			return err
		}
		if s.Mode&0o7777 != mode {
			return fmt.Errorf("the host's %s has mode %o", name, s.Mode&0o7777)
		}
		return nil
	}
}

func hasAttribute(name, attribute, value string) func(dir, output string) error {
	return func(dir, _ string) error {
		b := make([]byte, 100)
		n, err := unix.Lgetxattr(filepath.Join(dir, name), attribute, b)
		if err == nil && string(b[:n]) != value {
			err = fmt.Errorf("the host's %s is %q", attribute, b[:n])
		}
		return err
	}
}

func ancient(name string) func(dir string) error {
	return func(dir string) error {
		name, then := filepath.Join(dir, name), time.Unix(1, 2)
		return errors.Join(os.WriteFile(name, nil, 0o644), os.Chtimes(name, then, then))
	}
}

func makeFiles(n int) func(dir string) error {
	return func(dir string) error {
		dir = filepath.Join(dir, "many")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for i := range n {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%05d", i)), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
}

func isGone(name string) func(dir, output string) error {
	return func(dir, _ string) error {
		if exists(filepath.Join(dir, name)) {
			return fmt.Errorf("the host still has %s", name)
		}
		return nil
	}
}

// sameStatfs compares what the guest sees with what the host does, of the numbers that do not
// change by themselves.
func sameStatfs(dir, output string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	if want := fmt.Sprintln(s.Blocks, s.Bsize, s.Files, s.Namelen); output != want {
		return fmt.Errorf("the guest sees %q, the host %q", output, want)
	}
	return nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// makeCalls makes system calls, each as somebody: a process that is run for that person.
func makeCalls(args talk.CallsArgs) ([]string, error) {
	dir, err := folder(args.Dir)
	if err != nil {
		return nil, err
	}
	people := map[string]*person{}
	defer func() {
		for _, p := range people {
			p.leave()
		}
	}()
	var results []string
	for _, c := range args.Calls {
		who := fmt.Sprint(c.UID, c.GID, c.Groups)
		if people[who] == nil {
			if people[who], err = invite(dir, c); err != nil {
				return nil, err
			}
		}
		result, err := people[who].call(c)
		if err != nil {
			return nil, fmt.Errorf("%s as %s: %w", c.Name, who, err)
		}
		results = append(results, result)
	}
	return results, nil
}

// A person is a process of this program with somebody's rights.
type person struct {
	cmd *exec.Cmd
	to  io.WriteCloser
	in  chan talk.Message
}

// callsOf is the argument that makes this program a person's.
const callsOf = "calls"

func invite(dir string, c talk.Call) (*person, error) {
	cmd := exec.Command("/proc/self/exe", callsOf)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	var groups []uint32
	for _, g := range c.Groups {
		groups = append(groups, uint32(g))
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID), Groups: groups}}
	to, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &person{cmd, to, make(chan talk.Message)}
	go func() {
		_ = talk.Read(from, func(m talk.Message) { p.in <- m })
		close(p.in)
	}()
	return p, nil
}

func (p *person) call(c talk.Call) (string, error) {
	if err := talk.Write(p.to, "call", c); err != nil {
		return "", err
	}
	m, ok := <-p.in
	if !ok {
		return "", errors.New("left")
	}
	return m.Name, nil
}

func (p *person) leave() {
	p.to.Close()
	_ = p.cmd.Wait()
}

// callsOfPerson is a person's life.
func callsOfPerson() error {
	unix.Umask(0)
	return talk.Read(os.Stdin, func(m talk.Message) {
		var c talk.Call
		err := json.Unmarshal(m.Value, &c)
		if err == nil {
			err = call(c)
		}
		_ = talk.Write(os.Stdout, errorName(err), nil)
	})
}

// call makes one system call.
func call(c talk.Call) error {
	switch c.Name {
	case "open":
		return openAndClose(c.Path, map[string]int{"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR, "trunc": unix.O_WRONLY | unix.O_TRUNC}[c.Other], 0)
	case "create":
		return openAndClose(c.Path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, uint32(c.A))
	case "mkdir":
		return unix.Mkdir(c.Path, uint32(c.A))
	case "rmdir":
		return unix.Rmdir(c.Path)
	case "unlink":
		return unix.Unlink(c.Path)
	case "rename":
		return unix.Rename(c.Path, c.Other)
	case "link":
		return unix.Link(c.Path, c.Other)
	case "symlink":
		return unix.Symlink(c.Other, c.Path)
	case "chmod":
		return unix.Chmod(c.Path, uint32(c.A))
	case "chown":
		return unix.Lchown(c.Path, c.A, c.B)
	case "truncate":
		return unix.Truncate(c.Path, int64(c.A))
	case "utimes":
		return unix.Utimes(c.Path, []unix.Timeval{{Sec: int64(c.A)}, {Sec: int64(c.B)}})
	case "now":
		return unix.UtimesNanoAt(unix.AT_FDCWD, c.Path, []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}, 0)
	case "mknod":
		return unix.Mknod(c.Path, uint32(c.A), c.B)
	case "setxattr":
		return unix.Lsetxattr(c.Path, c.Other, []byte("value"), 0)
	case "mode": // fails unless it is this
		var s unix.Stat_t
		if err := unix.Lstat(c.Path, &s); err != nil {
			return err
		}
		if int(s.Mode&0o7777) != c.A {
			return fmt.Errorf("mode %04o", s.Mode&0o7777)
		}
		return nil
	case "owner": // fails unless it is this
		var s unix.Stat_t
		if err := unix.Lstat(c.Path, &s); err != nil {
			return err
		}
		if int(s.Uid) != c.A || int(s.Gid) != c.B {
			return fmt.Errorf("owner %d:%d", s.Uid, s.Gid)
		}
		return nil
	case "list":
		_, err := os.ReadDir(c.Path)
		return err
	case "read":
		_, err := os.ReadFile(c.Path)
		return err
	}
	return fmt.Errorf("no call %q", c.Name)
}

func openAndClose(path string, flags int, mode uint32) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// errorName is a system call's error as programmers know it.
func errorName(err error) string {
	if e := syscall.Errno(0); errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

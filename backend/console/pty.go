package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// PTY is an Endpoint that is a new pseudo terminal, in raw mode. Clients open and close it as
// they like; while none has it open, output is dropped.
type PTY struct {
	master *hostFile
	opened *hostFile // of inotify: readable when somebody opened the terminal
	path   string
	link   string
	linkID fs.FileInfo

	mu       sync.Mutex
	attached bool
	onAttach func(bool)
}

var (
	_ Endpoint  = (*PTY)(nil)
	_ Attacher  = (*PTY)(nil)
	_ tryWriter = (*PTY)(nil)
)

// OpenPTY makes a pseudo terminal. If link is not "", a symbolic link of that name points to
// it until Close, in place of one that is there already.
func OpenPTY(link string) (*PTY, error) {
	p, err := openPTY()
	if err == nil && link != "" {
		err = p.linkTo(link)
	}
	if err != nil {
		if p != nil {
			p.Close()
		}
		return nil, fmt.Errorf("console: pseudo terminal: %w", err)
	}
	return p, nil
}

func openPTY() (*PTY, error) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	p := &PTY{}
	if p.master, err = newHostFile(f); err == nil {
		p.master.peer = true // without a client the master takes a few KiB and then blocks
		err = p.master.control(p.unlock)
	}
	if err == nil {
		err = makeRaw(p.path)
	}
	if err == nil {
		p.opened, err = watchOpens(p.path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// unlock lets clients open the other end, and finds out its name.
func (p *PTY) unlock(fd int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return os.NewSyscallError("TIOCSPTLCK", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return os.NewSyscallError("TIOCGPTN", err)
	}
	p.path = "/dev/pts/" + strconv.Itoa(n)
	return nil
}

// makeRaw takes the line discipline out of the way: it would echo the driver's output back as
// input. The mode stays when the terminal is closed here, as long as the master is open.
func makeRaw(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := newHostFile(f)
	if err != nil {
		return err
	}
	return h.control(func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return os.NewSyscallError("TCGETS", err)
		}
		raw(t)
		t.Oflag &^= unix.OPOST
		return os.NewSyscallError("TCSETS", unix.IoctlSetTermios(fd, unix.TCSETS, t))
	})
}

// watchOpens makes a file that can be read whenever somebody opened path: the master does not
// tell, and looking for it again and again would keep an idle machine awake.
func watchOpens(path string) (*hostFile, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN); err == nil {
		return newHostFile(f)
	}
	f.Close()
	return nil, os.NewSyscallError("inotify_add_watch", err)
}

// linkTo puts the link into place with one rename.
func (p *PTY) linkTo(link string) error {
	if info, err := os.Lstat(link); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s exists and is no symbolic link", link)
	}
	fresh := fmt.Sprintf("%s.%d", link, os.Getpid())
	if err := os.Symlink(p.path, fresh); err != nil {
		return err
	}
	info, err := os.Lstat(fresh)
	if err == nil {
		err = os.Rename(fresh, link)
	}
	if err != nil {
		os.Remove(fresh)
		return err
	}
	p.link, p.linkID = link, info
	return nil
}

// Path is the name of the terminal, /dev/pts/….
func (p *PTY) Path() string { return p.path }

// OnAttach implements Attacher. It is Read that finds out.
func (p *PTY) OnAttach(fn func(bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onAttach = fn
	if p.attached {
		fn(true)
	}
}

func (p *PTY) setAttached(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.attached == on {
		return
	}
	p.attached = on
	if p.onAttach != nil {
		p.onAttach(on)
	}
}

// Read implements Endpoint. While nobody has the terminal open, it waits for somebody who
// does.
func (p *PTY) Read(b []byte) (int, error) {
	for {
		p.setAttached(!p.master.hungUp())
		n, err := p.master.Read(b)
		if n > 0 || !errors.Is(err, unix.EIO) {
			return n, err
		}
		p.setAttached(false)
		// Somebody may have come and gone, and left input: so look whoever came, not who is there.
		if err := p.opened.raw.Read(drain); err != nil {
			return 0, err
		}
	}
}

// drain empties an inotify descriptor and reports whether there was anything.
func drain(fd uintptr) (any bool) {
	var b [4096]byte
	for {
		n, err := unix.Read(int(fd), b[:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return any
		}
		any = true
	}
}

// Write implements Endpoint. It does not wait for a client that left.
func (p *PTY) Write(b []byte) (int, error) { return p.master.Write(b) }

// TryWrite writes what the client has room for.
func (p *PTY) TryWrite(b []byte) (int, error) { return p.master.TryWrite(b) }

// SetWriteDeadline implements Endpoint.
func (p *PTY) SetWriteDeadline(t time.Time) error { return p.master.SetWriteDeadline(t) }

// Close implements Endpoint. Clients read the end of their terminal.
func (p *PTY) Close() error {
	var err error
	if p.link != "" {
		err = remove(p.link, p.linkID)
	}
	return errors.Join(err, p.master.Close(), p.opened.Close())
}

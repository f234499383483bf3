package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/shmem"
)

// window is the shared memory as -shmem describes it, not yet opened.
type window struct {
	spec    *spec
	addr    uint64 // driver address of the first byte
	addrSet bool
	size    uint64 // 0: what is there
}

const shmemKinds = "file:PATH,size=SIZE,addr=ADDR; memfd:size=SIZE,addr=ADDR; uio:NAME[,addr=ADDR]; devmem:addr=ADDR,size=SIZE"

func parseWindow(text string) (*window, error) {
	s, err := parseSpec("shmem", text)
	if err != nil {
		return nil, err
	}
	accepted := []string{"size", "addr"}
	switch s.kind {
	case "memfd", "devmem":
		s.optionFirst()
	case "file", "uio":
		if s.addr == "" {
			return nil, s.errorf("something has to follow %s; accepted are %s", s.kind, shmemKinds)
		}
	default:
		return nil, s.errorf("unknown kind %q; accepted are %s", s.kind, shmemKinds)
	}
	if s.kind == "uio" {
		accepted = []string{"addr"} // the size is the kernel's to say
	}
	if err := s.accept(accepted...); err != nil {
		return nil, err
	}
	w := &window{spec: s}
	if w.addr, w.addrSet, err = s.address("addr"); err != nil {
		return nil, err
	}
	if w.size, err = s.bytes("size"); err != nil {
		return nil, err
	}
	if s.kind != "uio" && (w.size == 0 || !w.addrSet) {
		return nil, s.errorf("size and addr are needed; accepted are %s", shmemKinds)
	}
	return w, s.done()
}

// open maps the memory, for this monitor alone.
func (w *window) open() (*shmem.Region, error) {
	region, err := w.mapped()
	if err != nil {
		return nil, fmt.Errorf("-shmem %q: %w", w.spec.text, err)
	}
	if err := w.claim(region); err != nil {
		region.Close()
		return nil, fmt.Errorf("-shmem %q: %w", w.spec.text, err)
	}
	return region, nil
}

func (w *window) mapped() (*shmem.Region, error) {
	switch w.spec.kind {
	case "file":
		return shmem.OpenFile(w.spec.addr, int64(w.size))
	case "memfd":
		return shmem.NewMemfd("virtio-window", int64(w.size))
	case "devmem":
		return shmem.OpenDevMem(w.addr, w.size)
	}
	// Address and size are the kernel's to know.
	region, addr, err := shmem.OpenUIO(w.spec.addr, 0)
	if err != nil {
		return nil, err
	}
	if w.addrSet && w.addr != addr {
		region.Close()
		return nil, fmt.Errorf("the kernel says that %s lies at %#x", w.spec.addr, addr)
	}
	w.addr, w.size = addr, region.Size()
	return region, nil
}

var errTaken = errors.New("another monitor serves this window")

// claim locks the window's bytes of the file behind it: two monitors on the same registers
// would answer over each other. The kernel drops the lock with the process.
func (w *window) claim(region *shmem.Region) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if w.spec.kind == "devmem" {
		lock.Start, lock.Len = int64(w.addr), int64(w.size)
	}
	conn, err := region.File().SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := conn.Control(func(fd uintptr) { err = unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lock) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errTaken
	}
	return errors.Join(ctlErr, err)
}

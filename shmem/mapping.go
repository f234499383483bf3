package shmem

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps size bytes of f at the page-aligned offset off. The Region takes f over; with an
// error f stays the caller's.
func mapFile(f *os.File, off, size int64, kind Kind) (*Region, error) {
	var mem []byte
	var sealed bool
	err := control(f, func(fd int) (err error) {
		// A file that never had seals answers with an error, and is not sealed.
		seals, sealErr := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		sealed = sealErr == nil && seals&unix.F_SEAL_SHRINK != 0
		mem, err = unix.Mmap(fd, off, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("shmem: cannot map %d bytes at %#x of %s for reading and writing: %w", size, off, f.Name(), err)
	}
	return &Region{
		base:   unsafe.Pointer(unsafe.SliceData(mem)),
		size:   uint64(size),
		kind:   kind,
		width:  8,
		sealed: sealed,
		name:   f.Name(),
		file:   f,
		release: sync.OnceValue(func() error {
			return errors.Join(unix.Munmap(mem), f.Close())
		}),
	}, nil
}

// control calls do with f's descriptor. Unlike File.Fd it leaves f's non-blocking mode alone:
// a UIO file is also waited on for interrupts.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := conn.Control(func(fd uintptr) { doErr = do(int(fd)) }); err != nil {
		return err
	}
	return doErr
}

// checkSize refuses what cannot be a window of whole pages.
func checkSize(what string, size int64) error {
	if page := int64(os.Getpagesize()); size <= 0 || size%page != 0 {
		return fmt.Errorf("shmem: %s: %d bytes is not a positive multiple of the page size, %d", what, size, page)
	}
	return nil
}

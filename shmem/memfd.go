package shmem

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// NewMemfd is zeroed Normal memory without a path, sealed so that nobody can shrink or grow it:
// a mapping that cannot vanish. Another process gets it by inheriting or being sent File, or
// opens /proc/PID/fd/N, where PID is this process and N its descriptor. The name is only for
// messages and /proc; the size is a positive multiple of the page size.
func NewMemfd(name string, size int64) (*Region, error) {
	name = "memfd:" + name
	if err := checkSize(name, size); err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate(name[len("memfd:"):], unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("shmem: cannot create %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	r, err := mapSealed(f, size)
	if err != nil {
		f.Close()
	}
	return r, err
}

func mapSealed(f *os.File, size int64) (*Region, error) {
	if err := f.Truncate(size); err != nil {
		return nil, fmt.Errorf("shmem: cannot give %s its %d bytes: %w", f.Name(), size, err)
	}
	err := control(f, func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("shmem: cannot seal %s: %w", f.Name(), err)
	}
	return mapFile(f, 0, size, Normal)
}

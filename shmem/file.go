package shmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OpenFile maps a whole file, best one on tmpfs (/dev/shm) or hugetlbfs, as Normal memory. A
// missing file is created, zeroed, with mode 0600; an existing one keeps its bytes and must
// have that size, a positive multiple of the page size. Of processes that create the same file
// at once, all get the same one.
func OpenFile(path string, size int64) (*Region, error) {
	if err := checkSize(path, size); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createFile(path, size); err != nil {
			return nil, fmt.Errorf("shmem: cannot create %s: %w", path, err)
		}
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("shmem: %w", err)
	}
	r, err := mapWhole(f, size)
	if err != nil {
		f.Close()
	}
	return r, err
}

// createFile gives the file its size under another name first: a process that opens it
// meanwhile finds no file or a whole one, never an empty one.
func createFile(path string, size int64) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func mapWhole(f *os.File, size int64) (*Region, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("shmem: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("shmem: %s is not a regular file", f.Name())
	}
	if info.Size() != size {
		return nil, fmt.Errorf("shmem: %s has %d bytes, not %d: ask for the size it has, or remove it if nobody uses it",
			f.Name(), info.Size(), size)
	}
	return mapFile(f, 0, size, Normal)
}

// OpenFD maps size bytes at off, a multiple of the page size, of a file opened for reading and
// writing: one that another process passed, or a device that OpenUIO and OpenDevMem do not
// know. A regular file must reach that far; a device's size only its driver knows. The Region
// takes f over, and Close closes it; with an error f stays the caller's.
func OpenFD(f *os.File, off, size int64, kind Kind) (*Region, error) {
	if page := int64(os.Getpagesize()); off < 0 || off%page != 0 || size <= 0 {
		return nil, fmt.Errorf("shmem: %s: %d bytes at %#x cannot be mapped: the offset must be a multiple of the page size, %d, the size positive",
			f.Name(), size, off, page)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("shmem: %w", err)
	}
	if end := info.Size(); info.Mode().IsRegular() && (off > end || size > end-off) {
		return nil, fmt.Errorf("shmem: %s has %d bytes, too few for %d at %#x", f.Name(), end, size, off)
	}
	return mapFile(f, off, size, kind)
}

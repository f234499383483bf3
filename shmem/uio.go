package shmem

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unsafe"
)

// OpenUIO maps memory mapIndex of a UIO device, named as its driver names it
// (/sys/class/uio/uioN/name), or uioN, or /dev/uioN. Its size and addr, the physical address of
// its first byte, are what the driver says in sysfs.
//
// The Kind is Device, which is what uio_pdrv_genirq maps; sysfs does not tell about drivers
// that map otherwise, so where one does say so with As. File is the device, for its interrupts.
func OpenUIO(name string, mapIndex int) (r *Region, addr uint64, err error) {
	return openUIO("/sys/class/uio", "/dev", name, mapIndex)
}

func openUIO(sysfs, dev, name string, mapIndex int) (r *Region, addr uint64, err error) {
	uio, err := findUIO(sysfs, dev, name)
	if err != nil {
		return nil, 0, fmt.Errorf("shmem: %w", err)
	}
	m, err := readUIOMap(filepath.Join(sysfs, uio, "maps", "map"+strconv.Itoa(mapIndex)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("shmem: UIO device %s has no memory map%d: %w", uio, mapIndex, err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("shmem: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dev, uio), os.O_RDWR, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("shmem: %w", err)
	}
	// UIO chooses the memory by the offset: one page for each, however large they are.
	r, err = mapFile(f, int64(mapIndex)*int64(os.Getpagesize()), int64(m.size), Device)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	r.base = unsafe.Add(r.base, m.offset)
	r.size -= m.offset
	if mapIndex > 0 {
		r.name += fmt.Sprintf(" map%d", mapIndex)
	}
	return r, m.addr + m.offset, nil
}

// uioMap is what sysfs says of one memory of a UIO device.
type uioMap struct {
	addr   uint64 // physical address of the first byte mapped
	size   uint64 // bytes mapped
	offset uint64 // from there to the first byte of the device
}

func readUIOMap(dir string) (m uioMap, err error) {
	for _, field := range []struct {
		name string
		v    *uint64
	}{{"addr", &m.addr}, {"size", &m.size}, {"offset", &m.offset}} {
		path := filepath.Join(dir, field.name)
		text, err := os.ReadFile(path)
		if err != nil {
			return uioMap{}, err
		}
		if *field.v, err = strconv.ParseUint(strings.TrimSpace(string(text)), 0, 64); err != nil {
			return uioMap{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	if m.size > math.MaxInt64 || m.offset >= m.size || m.addr+m.size < m.addr {
		return uioMap{}, fmt.Errorf("%s: %d bytes at %#x, the first %d not the device's: there is nothing to map",
			dir, m.size, m.addr, m.offset)
	}
	return m, nil
}

var uioNode = regexp.MustCompile(`^uio[0-9]+$`)

// findUIO is the uioN that the name stands for.
func findUIO(sysfs, dev, name string) (string, error) {
	if node := strings.TrimPrefix(name, dev+"/"); uioNode.MatchString(node) {
		return node, nil
	}
	entries, err := os.ReadDir(sysfs)
	if err != nil {
		return "", fmt.Errorf("no UIO device is called %q: %w (is the UIO driver loaded?)", name, err)
	}
	var found, others []string
	for _, e := range entries {
		path := filepath.Join(sysfs, e.Name(), "name")
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone since ReadDir
		}
		if called := strings.TrimSpace(string(text)); called == name {
			found = append(found, e.Name())
		} else {
			others = append(others, fmt.Sprintf("%s (%s)", called, e.Name()))
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("no UIO device is called %q; there are: %s", name, cmp.Or(strings.Join(others, ", "), "none"))
	}
	return "", fmt.Errorf("%s are all called %q: ask for one of them by that name", strings.Join(found, ", "), name)
}

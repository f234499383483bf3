package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// measure does work of one kind and returns the seconds of each of its parts.
func measure(args talk.MeasureArgs) (map[string]float64, error) {
	dir, err := folder(args.Dir)
	if err != nil {
		return nil, err
	}
	parts, ok := kinds[args.Kind]
	if !ok {
		return nil, fmt.Errorf("no work of the kind %q", args.Kind)
	}
	seconds := map[string]float64{}
	for _, p := range parts {
		begin := time.Now()
		if err := p.run(dir, args); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		seconds[p.name] = time.Since(begin).Seconds()
	}
	return seconds, nil
}

type part struct {
	name string
	run  func(dir string, a talk.MeasureArgs) error
}

var kinds = map[string][]part{
	"sequential": {
		{"write", func(dir string, a talk.MeasureArgs) error {
			return onData(dir, os.O_CREATE|os.O_TRUNC, a, (*os.File).WriteAt, func(i int) int { return i })
		}},
		{"read", func(dir string, a talk.MeasureArgs) error {
			return onData(dir, 0, a, (*os.File).ReadAt, func(i int) int { return i })
		}},
	},
	"random": { // after sequential, in the same folder
		{"write", func(dir string, a talk.MeasureArgs) error {
			return onData(dir, 0, a, (*os.File).WriteAt, func(int) int { return rand.IntN(a.N) })
		}},
		{"read", func(dir string, a talk.MeasureArgs) error {
			return onData(dir, 0, a, (*os.File).ReadAt, func(int) int { return rand.IntN(a.N) })
		}},
	},
	"names": {
		{"create", func(dir string, a talk.MeasureArgs) error {
			return onNames(dir, a, func(name string) error {
				fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
				if err != nil {
					return err
				}
				return unix.Close(fd)
			})
		}},
		{"stat", func(dir string, a talk.MeasureArgs) error {
			var s unix.Stat_t
			return onNames(dir, a, func(name string) error { return unix.Stat(name, &s) })
		}},
		{"unlink", func(dir string, a talk.MeasureArgs) error { return onNames(dir, a, unix.Unlink) }},
	},
}

func onData(dir string, flags int, a talk.MeasureArgs, io func(f *os.File, p []byte, off int64) (int, error), block func(i int) int) error {
	f, err := os.OpenFile(filepath.Join(dir, "data"), os.O_RDWR|flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	p := make([]byte, a.Size)
	for i := range a.N {
		if _, err := io(f, p, int64(block(i))*int64(a.Size)); err != nil {
			return err
		}
	}
	return nil
}

func onNames(dir string, a talk.MeasureArgs, run func(name string) error) error {
	for i := range a.N {
		if err := run(filepath.Join(dir, fmt.Sprint("file", i))); err != nil {
			return err
		}
	}
	return nil
}

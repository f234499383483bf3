package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// wanderSize is how long the file gets at most.
const wanderSize = 256 << 10

// A wanderer does to a file and to its model whatever comes to its mind.
type wanderer struct {
	args  talk.WanderArgs
	path  string
	rnd   *rand.Rand
	f     *os.File
	model []byte // what is in the file
	fill  *rand.ChaCha8
	count map[string]int
	buf   []byte
}

// wander compares a file with its model through many operations, in the manner of fsx.
func wander(args talk.WanderArgs) (talk.WanderResult, error) {
	w := &wanderer{
		args: args, path: filepath.Join(talk.Share, args.Path), rnd: rand.New(rand.NewPCG(args.Seed, 9)),
		fill: rand.NewChaCha8([32]byte{byte(args.Seed)}), count: map[string]int{}, buf: make([]byte, wanderSize),
	}
	begin := time.Now()
	if err := w.open(unix.O_CREAT | unix.O_TRUNC); err != nil {
		return talk.WanderResult{}, err
	}
	defer func() { w.f.Close() }()
	for i := range args.Ops {
		if name, err := w.step(); err != nil {
			return talk.WanderResult{}, fmt.Errorf("seed %d, operation %d, %s, of a file of %d bytes: %w", args.Seed, i, name, len(w.model), err)
		}
	}
	if err := w.whole(); err != nil {
		return talk.WanderResult{}, fmt.Errorf("seed %d, at the end: %w", args.Seed, err)
	}
	return talk.WanderResult{Counts: w.count, Seconds: time.Since(begin).Seconds()}, nil
}

func (w *wanderer) step() (name string, err error) {
	steps := []struct {
		name   string
		weight int
		run    func() error
	}{
		{"write", 30, w.write}, {"read", 30, w.read}, {"truncate", 6, w.truncate}, {"append", 4, w.append},
		{"size", 6, w.size}, {"reopen", 2, w.reopen}, {"rename", 2, w.rename}, {"sync", 1, w.sync},
		{"map", 10, w.mapped}, {"map to write", 6, w.mappedWrite},
	}
	if !w.args.Mmap {
		steps = steps[:len(steps)-2]
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	n := w.rnd.IntN(total)
	for _, s := range steps {
		if n -= s.weight; n < 0 {
			w.count[s.name]++
			return s.name, s.run()
		}
	}
	panic("unreachable")
}

func (w *wanderer) open(flags int) error {
	f, err := os.OpenFile(w.path, os.O_RDWR|flags, 0o644)
	w.f = f
	return err
}

// length is mostly short, as in life.
func (w *wanderer) length() int {
	if w.rnd.IntN(16) == 0 {
		return 1 + w.rnd.IntN(64<<10)
	}
	return 1 + w.rnd.IntN(4096)
}

// put changes the model, with zeros in a hole.
func (w *wanderer) put(p []byte, off int) {
	if end := off + len(p); end > len(w.model) {
		w.model = append(w.model, make([]byte, end-len(w.model))...)
	}
	copy(w.model[off:], p)
}

func (w *wanderer) some(n int) []byte {
	p := w.buf[:n]
	w.fill.Read(p)
	return p
}

func (w *wanderer) write() error {
	n := w.length()
	off := w.rnd.IntN(wanderSize - n)
	p := w.some(n)
	w.put(p, off)
	_, err := w.f.WriteAt(p, int64(off))
	return err
}

func (w *wanderer) append() error {
	n := w.length()
	if len(w.model)+n > wanderSize {
		return nil
	}
	f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	p := w.some(n)
	w.put(p, len(w.model))
	_, err = f.Write(p)
	return errors.Join(err, f.Close())
}

func (w *wanderer) read() error {
	n := w.length()
	off := w.rnd.IntN(wanderSize)
	p := w.buf[:min(n, wanderSize)]
	got, err := w.f.ReadAt(p, int64(off))
	if err != nil && err != io.EOF {
		return err
	}
	want := w.model[min(off, len(w.model)):min(off+len(p), len(w.model))]
	return differs(p[:got], want, off)
}

func differs(got, want []byte, off int) error {
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("%d bytes from %d: byte %d is %#x, not %#x", len(want), off, off+i, got[i], want[i])
		}
	}
	return fmt.Errorf("%d bytes from %d, not %d", len(got), off, len(want))
}

func (w *wanderer) truncate() error {
	n := w.rnd.IntN(wanderSize)
	if n < len(w.model) {
		w.model = w.model[:n:n]
	} else {
		w.put(nil, n)
	}
	if w.rnd.IntN(2) == 0 {
		return os.Truncate(w.path, int64(n))
	}
	return w.f.Truncate(int64(n))
}

func (w *wanderer) size() error {
	for _, stat := range []func() (os.FileInfo, error){w.f.Stat, func() (os.FileInfo, error) { return os.Stat(w.path) }} {
		info, err := stat()
		if err != nil {
			return err
		}
		if info.Size() != int64(len(w.model)) {
			return fmt.Errorf("its length is %d", info.Size())
		}
	}
	return nil
}

func (w *wanderer) reopen() error {
	if err := w.f.Close(); err != nil {
		return err
	}
	return w.open(0)
}

func (w *wanderer) rename() error {
	other := w.path + ".other"
	if err := os.Rename(w.path, other); err != nil {
		return err
	}
	if err := w.size1(other); err != nil {
		return err
	}
	return os.Rename(other, w.path)
}

func (w *wanderer) size1(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() != int64(len(w.model)) {
		err = fmt.Errorf("its length is %d", info.Size())
	}
	return err
}

func (w *wanderer) sync() error { return w.f.Sync() }

// mapped reads through memory that is mapped.
func (w *wanderer) mapped() error {
	if len(w.model) == 0 {
		return nil
	}
	m, err := unix.Mmap(int(w.f.Fd()), 0, len(w.model), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	off := w.rnd.IntN(len(w.model))
	end := min(off+w.length(), len(w.model))
	err = differs(m[off:end], w.model[off:end], off)
	return errors.Join(err, unix.Munmap(m))
}

// mappedWrite writes through memory that is mapped; other descriptors see it when it is synced.
func (w *wanderer) mappedWrite() error {
	if len(w.model) == 0 {
		return nil
	}
	m, err := unix.Mmap(int(w.f.Fd()), 0, len(w.model), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	off := w.rnd.IntN(len(w.model))
	p := w.some(min(w.length(), len(w.model)-off))
	copy(m[off:], p)
	w.put(p, off)
	return errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
}

// whole reads all of the file.
func (w *wanderer) whole() error {
	data, err := os.ReadFile(w.path)
	if err != nil {
		return err
	}
	return differs(data, w.model, 0)
}

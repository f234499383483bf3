package shmem

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var page = int64(os.Getpagesize())

func wantError(t *testing.T, r *Region, err error, parts ...string) {
	t.Helper()
	if r != nil || err == nil {
		t.Fatalf("got %v, %v, want an error with %q", r, err, parts)
	}
	for _, part := range append(parts, "shmem: ") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error is %q, want it to say %q", err, part)
		}
	}
}

// wantShared fails unless a byte written through one of the Spans is read through the other.
func wantShared(t *testing.T, a, b Span) {
	t.Helper()
	for i, pair := range [][2]Span{{a, b}, {b, a}} {
		off := a.Len() - 1 - uint64(i)
		want := []byte{byte(0xa0 + i)}
		pair[0].WriteAt(want, off)
		var got [1]byte
		if pair[1].ReadAt(got[:], off); !bytes.Equal(got[:], want) {
			t.Errorf("byte %d is %#x through %s, written %#x through %s", off, got, pair[1].r, want, pair[0].r)
		}
	}
}

func TestOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "window")
	first, err := OpenFile(path, 2*page)
	a := mustSpan(t, first, err)
	if first.Size() != uint64(2*page) || first.Kind() != Normal || first.Sealed() || first.String() != path || first.File() == nil {
		t.Errorf("opened %d bytes of %s memory, sealed %v, %s", first.Size(), first.Kind(), first.Sealed(), first)
	}
	if !bytes.Equal(mustBytes(t, a), make([]byte, 2*page)) {
		t.Error("a new file is not zero")
	}
	a.Store32(4, 0x1234)
	second, err := OpenFile(path, 2*page)
	b := mustSpan(t, second, err)
	if got := b.Load32(4); got != 0x1234 {
		t.Errorf("opening the file again changed it: %#x", got)
	}
	wantShared(t, a, b)

	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	hidden, err2 := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if names = append(names, hidden...); len(names) != 1 || errors.Join(err, err2) != nil {
		t.Errorf("the folder has %q", names)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func mustBytes(t *testing.T, s Span) []byte {
	t.Helper()
	b, ok := s.Bytes()
	if !ok {
		t.Fatal("no bytes")
	}
	return b
}

func TestOpenFile_Refuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "window")
	for _, size := range []int64{0, -page, 1, page - 1, page + 1} {
		r, err := OpenFile(path, size)
		wantError(t, r, err, path, fmt.Sprint(size), fmt.Sprintf("page size, %d", page))
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused size left a file: %v", err)
	}

	for _, size := range []int64{0, page, 3 * page} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenFile(path, 2*page)
		wantError(t, r, err, path, fmt.Sprintf("has %d bytes, not %d", size, 2*page))
		if info, err := os.Stat(path); err != nil || info.Size() != size {
			t.Errorf("the file now has %d bytes, %v", info.Size(), err)
		}
	}

	r, err := OpenFile(dir, page)
	wantError(t, r, err, dir)
	r, err = OpenFile(filepath.Join(dir, "no", "window"), page)
	wantError(t, r, err, "cannot create "+filepath.Join(dir, "no", "window"), "no such file")
	r, err = OpenFile("/dev/null", page)
	wantError(t, r, err, "/dev/null is not a regular file")
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("nothing", dangling); err != nil {
		t.Fatal(err)
	}
	r, err = OpenFile(dangling, page)
	wantError(t, r, err, dangling)
}

// Processes that start together get one file, whoever is first.
func TestOpenFile_Together(t *testing.T) {
	const openers = 8
	for round := range 20 {
		path := filepath.Join(t.TempDir(), fmt.Sprint(round))
		var wg sync.WaitGroup
		for i := range openers {
			wg.Go(func() {
				r, err := OpenFile(path, page)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				s, err := r.Span(uint64(4*i), 4)
				if err != nil {
					t.Error(err)
					return
				}
				s.Store32(0, uint32(i+1))
			})
		}
		wg.Wait()
		r, err := OpenFile(path, page)
		s := mustSpan(t, r, err)
		for i := range openers {
			if got := s.Load32(uint64(4 * i)); got != uint32(i+1) {
				t.Fatalf("round %d: word %d is %d: somebody had another file", round, i, got)
			}
		}
	}
}

func TestNewMemfd(t *testing.T) {
	r, err := NewMemfd("window", 2*page)
	a := mustSpan(t, r, err)
	if r.Size() != uint64(2*page) || r.Kind() != Normal || !r.Sealed() || r.String() != "memfd:window" {
		t.Errorf("made %d bytes of %s memory, sealed %v, %s", r.Size(), r.Kind(), r.Sealed(), r)
	}
	for _, size := range []int64{0, page, 3 * page} {
		if err := r.File().Truncate(size); !errors.Is(err, unix.EPERM) {
			t.Errorf("it can get %d bytes: %v", size, err)
		}
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.File().Fd())
	peer, err := OpenFile(path, 2*page)
	b := mustSpan(t, peer, err)
	wantShared(t, a, b)
	if !peer.Sealed() {
		t.Error("the peer's mapping of sealed memory is not Sealed")
	}
}

func TestNewMemfd_Refuses(t *testing.T) {
	for _, size := range []int64{0, -page, page + 1} {
		r, err := NewMemfd("window", size)
		wantError(t, r, err, "memfd:window", fmt.Sprint(size), "page size")
	}
	r, err := NewMemfd(strings.Repeat("x", 300), page)
	wantError(t, r, err, "cannot create memfd:xxx")
	r, err = NewMemfd("huge", 1<<62)
	wantError(t, r, err, "memfd:huge", fmt.Sprint(1<<62))
}

func TestOpenFD(t *testing.T) {
	path := filepath.Join(t.TempDir(), "window")
	whole, err := OpenFile(path, 3*page)
	a := mustSpan(t, whole, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenFD(f, page, 2*page-8, Uncached)
	b := mustSpan(t, r, err)
	if r.Size() != uint64(2*page-8) || r.Kind() != Uncached || r.Sealed() || r.String() != path || r.File() != f {
		t.Errorf("opened %d bytes of %s memory, sealed %v, %s", r.Size(), r.Kind(), r.Sealed(), r)
	}
	wantShared(t, a.Slice(uint64(page), uint64(2*page-8)), b)
}

func TestOpenFD_Refuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "window")
	if err := os.WriteFile(path, make([]byte, 2*page), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tt := range []struct {
		off, size int64
		want      string
	}{
		{0, 0, "the size positive"},
		{0, -1, "the size positive"},
		{-page, page, "multiple of the page size"},
		{1, page, "multiple of the page size"},
		{0, 2*page + 1, fmt.Sprintf("has %d bytes, too few for %d at 0x0", 2*page, 2*page+1)},
		{page, page + 1, "too few"},
		{2 * page, 1, "too few"},
		{4 * page, 1, "too few"},
		{page, math.MaxInt64, "too few"},
		{math.MaxInt64 - page + 1, page, "too few"},
	} {
		r, err := OpenFD(f, tt.off, tt.size, Normal)
		wantError(t, r, err, path, tt.want)
	}
	if _, err := f.Stat(); err != nil {
		t.Errorf("a refused file is closed: %v", err)
	}

	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	r, err := OpenFD(readOnly, 0, page, Normal)
	wantError(t, r, err, path, "for reading and writing", "permission denied")

	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	r, err = OpenFD(reader, 0, page, Normal)
	wantError(t, r, err, "cannot map")

	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	r, err = OpenFD(writer, 0, page, Normal)
	wantError(t, r, err, "closed")
}

func TestRegion_Close(t *testing.T) {
	for name, open := range map[string]func() (*Region, error){
		"heap":  func() (*Region, error) { return NewHeap(4096), nil },
		"memfd": func() (*Region, error) { return NewMemfd("window", page) },
		"file":  func() (*Region, error) { return OpenFile(filepath.Join(t.TempDir(), "window"), page) },
	} {
		r, err := open()
		if err != nil {
			t.Fatal(err)
		}
		as := r.As(Device)
		f := r.File()
		if (f == nil) != (name == "heap") {
			t.Errorf("%s: file is %v", name, f)
		}
		// Either closes both, and once is enough.
		for _, r := range []*Region{as, r, as} {
			if err := r.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if f != nil {
			if _, err := f.Stat(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s: the file is still open: %v", name, err)
			}
			if err := guarded(func() { sink += uint64((*(*[1]byte)(r.base))[0]) }); err == nil {
				t.Errorf("%s: the memory is still there", name)
			}
		}
	}
}

func TestRegion_As(t *testing.T) {
	r := NewHeap(4096)
	as := r.As(Device)
	if r.Kind() != Normal || as.Kind() != Device || as.Size() != r.Size() || as.String() != r.String() || as.Sealed() != r.Sealed() {
		t.Errorf("%s memory of %d bytes as %s memory of %d", r.Kind(), r.Size(), as.Kind(), as.Size())
	}
	wantShared(t, mustSpan(t, r, nil), mustSpan(t, as, nil))
}

func TestRegion_Span(t *testing.T) {
	const max = 1<<64 - 1
	r := NewHeap(4096)
	for _, tt := range []struct {
		off, n uint64
		good   bool
	}{
		{0, 4096, true}, {4095, 1, true}, {4096, 0, true}, {0, 4097, false}, {4096, 1, false}, {4097, 0, false},
		{max, 1, false}, {1, max, false}, {max, max, false}, {max - 4095, 4096, false},
	} {
		s, err := r.Span(tt.off, tt.n)
		if !tt.good {
			wantRangeError(t, s, err, tt.off, tt.n)
		} else if err != nil || s.Len() != tt.n {
			t.Errorf("%d bytes at %d: %d, %v", tt.n, tt.off, s.Len(), err)
		}
	}
}

func TestKind(t *testing.T) {
	for kind, want := range map[Kind]string{Normal: "normal", Uncached: "uncached", Device: "device", 7: "Kind(7)"} {
		if kind.String() != want || kind.CompareAndSwap() != (kind == Normal) {
			t.Errorf("%d is %s, compare-and-swap %v", uint8(kind), kind, kind.CompareAndSwap())
		}
	}
}

func TestOpenDevMem(t *testing.T) {
	upage := uint64(page)
	dev := filepath.Join(t.TempDir(), "mem") // stands in for /dev/mem
	memory, err := OpenFile(dev, 4*page)
	a := mustSpan(t, memory, err)
	r, err := openDevMem(dev, 2*upage, upage)
	b := mustSpan(t, r, err)
	if want := fmt.Sprintf("%s at %#x", dev, 2*page); r.Size() != upage || r.Kind() != Device || r.Sealed() || r.String() != want {
		t.Errorf("opened %d bytes of %s memory, sealed %v, %s", r.Size(), r.Kind(), r.Sealed(), r)
	}
	wantShared(t, a.Slice(2*upage, upage), b)
	flags, err := unix.FcntlInt(r.File().Fd(), unix.F_GETFL, 0)
	if err != nil || flags&syscall.O_SYNC != syscall.O_SYNC {
		t.Errorf("flags %#x, %v: without O_SYNC, RAM is mapped cached", flags, err)
	}

	const max = 1<<64 - 1
	for _, tt := range []struct {
		addr, size uint64
		want       string
	}{
		{0, 0, "not whole pages"},
		{upage / 2, upage, "not whole pages"},
		{upage, upage / 2, "not whole pages"},
		{1 << 63, upage, "beyond"},
		{1<<63 - upage, upage, "beyond"},
		{upage, max - upage + 1, "beyond"},
		{max - upage + 1, upage, "beyond"},
	} {
		r, err := openDevMem(dev, tt.addr, tt.size)
		wantError(t, r, err, dev, fmt.Sprintf("%d bytes at %#x", tt.size, tt.addr), tt.want)
	}
	r, err = openDevMem(dev+"none", 0, upage)
	wantError(t, r, err, dev+"none", "CONFIG_DEVMEM")
	r, err = openDevMem("/dev/null", 0, upage)
	wantError(t, r, err, "/dev/null", "CONFIG_STRICT_DEVMEM")
	r, err = OpenDevMem(1, 1)
	wantError(t, r, err, "/dev/mem")
}

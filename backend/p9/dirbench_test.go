package p9

import (
	"fmt"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// benchFile is an open file of size bytes on tmpfs.
func benchFile(tb testing.TB, size int) *dirFile {
	tb.Helper()
	x, err := Dir("/dev/shm", DirOptions{})
	assert.NilError(tb, err)
	root, err := x.Attach()
	assert.NilError(tb, err)
	const name = "p9dir.bench"
	f, _, _, err := root.Create(name, p9.ReadWrite|wireTrunc, 0o600, p9.NoUID, p9.NoGID)
	assert.NilError(tb, err)
	assert.NilError(tb, root.UnlinkAt(name, 0))
	assert.NilError(tb, f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: uint64(size)}))
	_, err = f.WriteAt(make([]byte, size), 0)
	assert.NilError(tb, err)
	tb.Cleanup(func() { f.Close(); root.Close(); x.Close() })
	return f.(*dirFile)
}

// pages is a buffer in pieces, as a driver's memory is.
func pages(n, size int) [][]byte {
	b, v := make([]byte, n*size), make([][]byte, n)
	for i := range v {
		v[i] = b[i*size:][:size]
	}
	return v
}

// Nothing is allocated where a driver spends its time. Walking allocates the File and the name
// as the kernel takes it.
func TestDirAllocations(t *testing.T) {
	f := benchFile(t, 1<<20)
	f.Lock(0, p9.ReadLock, 0, 0, 1, "") // the first one opens a descriptor
	b, few, many := make([]byte, 4096), pages(3, 4096), pages(100, 4096)
	s := export(t, memory(t), DirOptions{})
	for i := range 100 {
		s.put(fmt.Sprint("file", i), "")
	}
	step := 2.0
	if s.x.mount != "" { // and looks where it is
		step = 10
	}
	d, n := s.open(p9.ReadOnly), 0
	emit := func(*Dirent) bool { n++; return true }
	do := func(_ int, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		want float64
		f    func()
	}{
		{"ReadAt", 0, func() { do(f.ReadAt(b, 0)) }},
		{"WriteAt", 0, func() { do(f.WriteAt(b, 0)) }},
		{"ReadVecAt few", 0, func() { do(f.ReadVecAt(few, 0)) }},
		{"ReadVecAt many", 0, func() { do(f.ReadVecAt(many, 0)) }},
		{"WriteVecAt few", 0, func() { do(f.WriteVecAt(few, 0)) }},
		{"WriteVecAt many", 0, func() { do(f.WriteVecAt(many, 0)) }},
		{"GetAttr", 0, func() { f.GetAttr(p9.AttrMaskAll) }},
		{"EachDirent", 0, func() { do(0, d.EachDirent(0, emit)) }},
		{"Lock", 0, func() { f.Lock(0, p9.ReadLock, 0, 0, 1, "") }},
		{"Step", step, func() {
			n, _, err := s.root.Step("file1")
			if err != nil {
				t.Fatal(err)
			}
			n.Close()
		}},
	} {
		if got := testing.AllocsPerRun(100, tc.f); got > tc.want && !raceEnabled {
			t.Errorf("%s: %v allocations", tc.name, got)
		}
	}
	assert.Assert(t, n > 100)
}

func BenchmarkP9DirRead(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		f, p := benchFile(b, 1<<20), make([]byte, size)
		b.Run(fmt.Sprintf("%d/pread", size), func(b *testing.B) {
			fd := int(f.io.Load())
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				unix.Pread(fd, p, 4096)
			}
		})
		b.Run(fmt.Sprintf("%d/ReadAt", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				f.ReadAt(p, 4096)
			}
		})
		b.Run(fmt.Sprintf("%d/ReadVecAt", size), func(b *testing.B) {
			v := pages(size/4096, 4096)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				f.ReadVecAt(v, 4096)
			}
		})
	}
}

func BenchmarkP9DirWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		f, p := benchFile(b, 1<<20), make([]byte, size)
		b.Run(fmt.Sprintf("%d/pwrite", size), func(b *testing.B) {
			fd := int(f.io.Load())
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				unix.Pwrite(fd, p, 4096)
			}
		})
		b.Run(fmt.Sprintf("%d/WriteAt", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				f.WriteAt(p, 4096)
			}
		})
		b.Run(fmt.Sprintf("%d/WriteVecAt", size), func(b *testing.B) {
			v := pages(size/4096, 4096)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				f.WriteVecAt(v, 4096)
			}
		})
	}
}

func BenchmarkP9DirGetAttr(b *testing.B) {
	f := benchFile(b, 1)
	b.Run("fstat", func(b *testing.B) {
		var st unix.Stat_t
		b.ReportAllocs()
		for range b.N {
			unix.Fstat(f.fd, &st)
		}
	})
	b.Run("GetAttr", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			f.GetAttr(p9.AttrMaskAll)
		}
	})
}

// BenchmarkDirStep is not among those that allocate nothing: there is a new File each time.
func BenchmarkDirStep(b *testing.B) {
	x, err := Dir("/", DirOptions{})
	assert.NilError(b, err)
	root, err := x.Attach()
	assert.NilError(b, err)
	defer x.Close()
	defer root.Close()
	b.ReportAllocs()
	for range b.N {
		f, _, err := root.(Stepper).Step("etc")
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

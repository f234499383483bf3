package driver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// The headers of a table, those of absent devices and of a former window in between.
func TestProbe_Table(t *testing.T) {
	f := newFake(t, 4, 0, 3)
	f.publish(5*0x200, 4)
	f.publish(6*0x200, 9)
	f.mem.Store32(6*0x200, 0) // magic comes last
	w := f.open(driver.Options{})
	found, err := w.Probe(bounded(t))
	assert.NilError(t, err)
	type device struct {
		Slot int
		ID   virtio.DeviceID
	}
	var got []device
	for _, d := range found {
		got = append(got, device{d.Slot(), d.ID()})
	}
	assert.DeepEqual(t, got, []device{{0, virtio.IDEntropy}, {2, virtio.IDConsole}, {5, virtio.IDEntropy}})
	second, err := w.Find(bounded(t), virtio.IDEntropy, 1)
	assert.NilError(t, err)
	assert.Equal(t, second, found[2], "the same device each time")
	assert.Equal(t, second.String(), "rng in slot 5")
	assert.Equal(t, second.Window(), w)
}

// A back-end that comes late is waited for, whether it rings or not, and as long as ctx says; then
// the error says what was there.
func TestProbe_Late(t *testing.T) {
	for _, rings := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			time.AfterFunc(time.Second+time.Millisecond, func() {
				f.publish(0x200, 9) // not the one that is asked for
				f.publish(0, 4)
				if rings {
					f.line.Wake()
				}
			})
			began := time.Now()
			d, err := f.open(driver.Options{}).Find(t.Context(), virtio.IDEntropy, 0)
			assert.NilError(t, err)
			assert.Equal(t, d.Slot(), 0)
			assert.Equal(t, time.Since(began) == time.Second+time.Millisecond, rings)
		})
	}
	for _, tt := range []struct {
		name string
		fill func(*fake)
		want string
	}{
		{"empty", func(*fake) {}, "has not published"},
		{"rubbish", func(f *fake) { f.mem.Store32(0, 0x1234) }, "0x1234, is that of neither layout"},
		{"broken tree", func(f *fake) { f.mem.Store32(0, 0xedfe0dd0) }, "malformed"},
		{"other devices", func(f *fake) { f.publish(0, 9) }, "of 1 devices 0 are of this type"},
		{"too few", func(f *fake) { f.publish(0, 4) }, "of 1 devices 1 are of this type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				tt.fill(f)
				w := f.open(driver.Options{})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := w.Find(ctx, virtio.IDEntropy, 1)
				assert.ErrorContains(t, err, "no rng 1 in the window")
				assert.ErrorContains(t, err, tt.want)
				assert.Assert(t, errors.Is(err, context.DeadlineExceeded))
			})
		})
	}
}

// publishTree writes the fragment and the headers of a map.
func (f *fake) publishTree(slots ...mmio.Slot) mmio.Map {
	m, err := mmio.NewMap(mmio.Tree, winAddr, winSize, slots...)
	assert.NilError(f.t, err)
	f.mem.WriteAt(m.FDT(), 0)
	for _, p := range m.Places {
		at := p.Header - winAddr
		f.publish(at, uint32(p.ID))
		f.mem.Store32(at+0xb0, uint32(p.Size))
		f.mem.Store32(at+0xb8, uint32(p.Block))
	}
	return m
}

// Each device of a tree has its own memory, less its header.
func TestProbe_Tree(t *testing.T) {
	f := newFake(t)
	m := f.publishTree(mmio.Slot{Name: "rng", ID: virtio.IDEntropy}, mmio.Slot{Name: "console", ID: virtio.IDConsole})
	w := f.open(driver.Options{})
	found, err := w.Probe(bounded(t))
	assert.NilError(t, err)
	assert.Equal(t, len(found), 2)
	for i, d := range found {
		assert.Equal(t, d.ID(), m.Places[i].ID)
		b, err := d.Alloc(int(m.Places[i].Size) - 0x200)
		assert.NilError(t, err)
		assert.Equal(t, b.Addr, m.Places[i].Block+0x200)
		_, err = d.Alloc(1)
		assert.Assert(t, errors.Is(err, driver.ErrNoMemory))
	}
	_, err = w.Alloc(1)
	assert.Assert(t, errors.Is(err, driver.ErrNoMemory), "there is no common memory")
}

// All that a tree names has to be there and sane.
func TestProbe_TreeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*fake)
		want  string
	}{
		{"a magic is missing", func(f *fake) { f.mem.Store32(0x16000, 0) }, "has not published"},
		{"block outside", func(f *fake) { f.mem.Store32(0x160b8, 0) }, "slot 1: memory block"},
		{"block too long", func(f *fake) { f.mem.Store32(0x160b4, 1) }, "slot 1: memory block"},
		{"no block", func(f *fake) { f.mem.Store32(0x160b0, 0x200) }, "slot 1: no room"},
		{"header outside", func(f *fake) { f.header(1, winAddr+winSize) }, "slot 1: header"},
		{"header cut", func(f *fake) { f.header(1, winAddr+winSize-0x1fc) }, "slot 1: header"},
		{"header not aligned", func(f *fake) { f.header(1, winAddr+0x16002) }, "slot 1: header at 0x37016002 is not aligned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.publishTree(mmio.Slot{Name: "rng", ID: virtio.IDEntropy}, mmio.Slot{Name: "console", ID: virtio.IDConsole})
				tt.spoil(f)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := f.open(driver.Options{}).Probe(ctx)
				assert.ErrorContains(t, err, tt.want)
			})
		})
	}
}

// header changes where the tree says that device i is.
func (f *fake) header(i int, addr uint32) {
	tree := make([]byte, 0x1000)
	f.mem.ReadAt(tree, 0)
	was := binary.BigEndian.AppendUint32(nil, uint32(winAddr+0x10000+i*0x6000))
	for off := 0; off+4 <= len(tree); off += 4 {
		if string(tree[off:off+4]) == string(was) {
			f.mem.WriteAt(binary.BigEndian.AppendUint32(nil, addr), uint64(off))
		}
	}
}

func TestOpen_Refuses(t *testing.T) {
	line := &countLine{}
	region := shmem.NewHeap(4096)
	for _, tt := range []struct {
		o    driver.Options
		want string
	}{
		{driver.Options{Line: line}, "needs a region"},
		{driver.Options{Region: region}, "needs a region"},
		{driver.Options{Region: region, Line: line, Dialect: 3}, "no such dialect: Dialect(3)"},
		{driver.Options{Region: region, Line: line, Addr: 0x100}, "multiple of 4096"},
		{driver.Options{Region: region, Line: line, Addr: ^uint64(4095) + 0}, ""},
	} {
		_, err := driver.Open(tt.o)
		if tt.want == "" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, tt.want)
	}
}

func TestParseDialect(t *testing.T) {
	for _, d := range dialects {
		got, err := driver.ParseDialect(d.String())
		assert.NilError(t, err)
		assert.Equal(t, got, d)
	}
	_, err := driver.ParseDialect("vxworks")
	assert.ErrorContains(t, err, `want one of ["virtio-exp" "zephyr2021" "v2025"]`)
}

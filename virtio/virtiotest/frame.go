package virtiotest

import (
	"fmt"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// frame is a way to cut a request into descriptors (2.7.4). cut gets at most one of each kind,
// with length 0 where there is none; where it makes more than room descriptors of them, they are
// left whole.
type frame struct {
	name string
	cut  func(m *vringtest.Memory, room int, r, w vringtest.Desc) []vringtest.Desc
}

// plain is one descriptor for each part.
var plain = frame{"in whole pieces", func(_ *vringtest.Memory, _ int, r, w vringtest.Desc) []vringtest.Desc {
	return parts(r, w)
}}

// parts drops what is empty.
func parts(d ...vringtest.Desc) (all []vringtest.Desc) {
	for _, d := range d {
		if d.Len > 0 {
			all = append(all, d)
		}
	}
	return all
}

// at cuts a buffer in two behind k bytes.
func at(d vringtest.Desc, k int) []vringtest.Desc {
	if k >= int(d.Len) {
		return parts(d)
	}
	head, tail := d, d
	head.Len = uint32(k)
	tail.Addr, tail.Len = d.Addr+uint64(k), d.Len-uint32(k)
	return []vringtest.Desc{head, tail}
}

// places are the frames with a cut at one place, where the longest of the script have r and w
// bytes. Headers are at the front, so it is there that every place is tried.
func places(r, w int) (all []frame) {
	const readable, writable = 64, 16
	for k := 1; k < min(r, readable); k++ {
		all = append(all, frame{fmt.Sprintf("its readable bytes cut at %d", k),
			func(_ *vringtest.Memory, _ int, r, w vringtest.Desc) []vringtest.Desc {
				return append(at(r, k), parts(w)...)
			}})
	}
	for k := 1; k < min(w, writable); k++ {
		all = append(all, frame{fmt.Sprintf("its writable bytes cut at %d", k),
			func(_ *vringtest.Memory, _ int, r, w vringtest.Desc) []vringtest.Desc {
				return append(parts(r), at(w, k)...)
			}})
	}
	return all
}

// crumbs is descriptors of one byte, or the least that fits.
var crumbs = frame{"in descriptors of one byte", func(_ *vringtest.Memory, room int, r, w vringtest.Desc) []vringtest.Desc {
	for size := uint32(1); ; size++ {
		var all []vringtest.Desc
		for _, d := range parts(r, w) {
			all = append(all, vringtest.Split(d, size)...)
		}
		if len(all) <= room || size >= max(r.Len, w.Len) {
			return all
		}
	}
}}

// holes has descriptors without a byte in between.
var holes = frame{"with empty descriptors in between", func(_ *vringtest.Memory, room int, r, w vringtest.Desc) []vringtest.Desc {
	var all []vringtest.Desc
	for _, d := range parts(r, w) {
		none := d
		none.Len = 0
		all = append(all, none)
		all = append(all, at(d, int(d.Len)/2)...)
		all = append(all, none)
	}
	return all
}}

// wrapping is a way to place descriptors: in the table of the queue, or in one of their own.
type wrapping struct {
	name string
	wrap func(m *vringtest.Memory, d []vringtest.Desc) []vringtest.Desc
}

var (
	direct   = wrapping{"direct", func(_ *vringtest.Memory, d []vringtest.Desc) []vringtest.Desc { return d }}
	indirect = wrapping{"indirect", func(m *vringtest.Memory, d []vringtest.Desc) []vringtest.Desc {
		return []vringtest.Desc{m.Table(d...)}
	}}
	mixed = wrapping{"the first descriptor direct, the others indirect", func(m *vringtest.Memory, d []vringtest.Desc) []vringtest.Desc {
		if len(d) == 1 {
			return d
		}
		return []vringtest.Desc{d[0], m.Table(d[1:]...)}
	}}
	odd = wrapping{"indirect at an odd address, marked writable", func(m *vringtest.Memory, d []vringtest.Desc) []vringtest.Desc {
		table := m.TableAt(m.Alloc(16*uint64(len(d))+2, 2)+1, d...)
		table.Flags |= vring.DescWrite
		return []vringtest.Desc{table}
	}}
)

// in is the frame placed that way.
func (f frame) in(w wrapping) frame {
	return frame{f.name + ", " + w.name, func(m *vringtest.Memory, room int, r, wr vringtest.Desc) []vringtest.Desc {
		d := f.cut(m, room, r, wr)
		if len(d) > room {
			d = parts(r, wr)
		}
		return w.wrap(m, d)
	}}
}

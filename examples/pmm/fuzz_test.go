package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// FuzzSpec gives the command line anything. It is refused in words, as a mistake of the user,
// or else describes a window that every format can show, cut without gap or overlap.
func FuzzSpec(f *testing.F) {
	for _, seed := range [][4]string{
		{good, "unix:/b", "rng", "table"},
		{good, "unix:/b", "rng,rate=64K", "dtb"},
		{good, "poll", "console,stdio", "table"},
		{good, "poll:500us", "console,stdio,escape=^A", "dtb"},
		{good, "unix:/b", "console,pty=/link", "table"},
		{good, "unix:/b", "console,unix=/c,port=a:pty,port=b:unix=/d,port=c:file=/e", "dtb"},
		{good, "unix:/a,,b", "console,file=/x,,y", "table"},
		{"memfd:size=1M,addr=0x0", "poll", "rng,mem=8K", "dtb"},
		{"memfd:addr=0xffffffff00000000,size=64K", "poll", "rng", "table"},
		{"devmem:addr=0x80000000,size=1G", "unix:/b", "rng,mem=1G", "dtb"},
		{"uio:window", "unix:/b", "rng", "table"},
		{"uio:/dev/uio0,addr=0x37000000", "unix:/b", "rng", "table"},
		{"file:/w,size=8K,addr=0xffffffffffffe000", "poll", "rng", "table"},
		{"file:/w,size=0x10000,addr=0x1000", "poll", "rng", "dtb"},
		{"file:,,,size=1M", "unix:", "console,port=", "v2"},
		{",", ":", ",,=", ""},
		{"file:/w,size=18014398509481984K,addr=0x0", "poll:-1s", "rng,mem=18446744073709551615", "dtb"},
		{"file:/w,size=1025G,addr=0xfffffffff000", "poll:1h", "console,pty,mem=512G", "dtb"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, memory, bell, dev, layout string) {
		c := config{shmem: memory, doorbell: bell, devices: []string{"rng", dev, dev}, layout: layout, log: "text"}
		p, err := c.check()
		if err != nil {
			var bad *usageError
			assert.Assert(t, errors.As(err, &bad), "%v", err)
			assert.Assert(t, strings.HasPrefix(err.Error(), "-"), "%v: names no flag", err)
			return
		}
		if p.window.size == 0 {
			return
		}
		m, err := p.memoryMap()
		assert.NilError(t, err)
		next := m.Addr
		for _, piece := range pieces(m) {
			assert.Equal(t, piece.addr, next)
			assert.Assert(t, piece.size > 0)
			next += piece.size
		}
		assert.Equal(t, next, m.Addr+m.Size)
		for name, render := range formats {
			assert.NilError(t, render(io.Discard, p, m), name)
		}
	})
}

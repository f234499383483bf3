package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hypervisorless/virtio/transport/mmio"
)

const formatKinds = "text, svg, dts, dtb, zephyr, c"

// formats are the renderings of a memory map, by the names of -format.
var formats = map[string]func(io.Writer, *plan, mmio.Map) error{
	"text":   layoutText,
	"svg":    layoutSVG,
	"dts":    layoutDTS,
	"dtb":    layoutDTB,
	"zephyr": layoutZephyr,
	"c":      layoutC,
}

// layoutCommand prints the other side's half of the agreement. It opens nothing.
func layoutCommand(args []string, stdout, _ io.Writer) error {
	var format string
	c, help, err := parseConfig("layout", "pmm layout: print what the other side needs to know, from the flags of run", args, stdout,
		func(fs *flag.FlagSet) { fs.StringVar(&format, "format", "text", "what to print: "+formatKinds) })
	if help || err != nil {
		return err
	}
	render := formats[format]
	if render == nil {
		return refuse("format", format, formatKinds)
	}
	p, err := c.check()
	if err != nil {
		return err
	}
	if p.window.size == 0 {
		return p.window.spec.errorf("layout opens nothing, and so does not know where it is; devmem:addr=ADDR,size=SIZE says it")
	}
	if p.layout == mmio.Modern && slices.Contains(treeFormats, format) {
		return &usageError{fmt.Sprintf("-format %q: a window with -layout v2 describes itself by its directory; accepted are text, svg, c", format)}
	}
	m, err := p.memoryMap()
	if err != nil {
		return err
	}
	return render(stdout, p, m)
}

func layoutDTB(w io.Writer, _ *plan, m mmio.Map) error {
	_, err := w.Write(m.FDT())
	return err
}

// piece is a part of the window with one use.
type piece struct {
	addr, size uint64
	use        use
	what       string
	slot       int // of a device; -1
}

// use is what memory is for; it picks the colour.
type use int

const (
	useRegisters use = iota // registers and configuration of a device
	useFree                 // kept for registers, or nobody's
	useTree                 // the device tree fragment
	usePool                 // rings and buffers, placed by the driver
)

// pieces cuts the window into its parts, without a gap.
func pieces(m mmio.Map) (all []piece) {
	next := uint64(0) // offsets, since a window may end where addresses do
	add := func(end uint64, use use, slot int, what string) {
		if end > next {
			all = append(all, piece{m.Addr + next, end - next, use, what, slot})
			next = end
		}
	}
	if m.Layout == mmio.Modern {
		pagePieces(m, add)
		return all
	}
	first := m.Places[0]
	if m.Layout == mmio.Tree {
		add(first.Header-m.Addr, useTree, -1, "device tree fragment")
	}
	for i, p := range m.Places {
		add(p.Header-m.Addr+mmio.HeaderSize, useRegisters, i, p.Name+": registers and configuration")
		if m.Layout == mmio.Tree {
			add(p.Block-m.Addr+p.Size, usePool, i, p.Name+": rings and buffers, placed by the driver")
		}
	}
	if m.Layout == mmio.Tree {
		add(m.Size, useFree, -1, "not used")
		return all
	}
	pool := first.Block - m.Addr
	add(pool, useFree, -1, fmt.Sprintf("room for %d more headers", (pool-next)/mmio.HeaderSize))
	add(m.Size, usePool, -1, "rings and buffers of all devices, placed by the driver")
	return all
}

// amount writes a size as a person would.
func amount(n uint64) string {
	for _, unit := range []struct {
		shift int
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n >= 1<<unit.shift && n%(1<<unit.shift) == 0 {
			return fmt.Sprintf("%d %s", n>>unit.shift, unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// layoutText is a table for a person.
func layoutText(w io.Writer, p *plan, m mmio.Map) error {
	var b strings.Builder
	fmt.Fprintf(&b, "window of %s at %#x, layout %s; all addresses are the driver's\n\n", amount(m.Size), m.Addr, m.Layout)
	fmt.Fprintf(&b, "%-12s %10s  %s\n", "address", "size", "what")
	for _, piece := range pieces(m) {
		fmt.Fprintf(&b, "%#-12x %10s  %s\n", piece.addr, amount(piece.size), piece.what)
	}
	fmt.Fprintf(&b, "%#-12x %10s  %s\n\n", m.Addr+m.Size, "", "end")
	header := "header"
	if m.Layout == mmio.Modern {
		header = "page"
	}
	fmt.Fprintf(&b, "%-4s %-10s %4s  %-12s %s\n", "slot", "device", "type", header, "memory published as its own")
	for i, place := range m.Places {
		fmt.Fprintf(&b, "%-4d %-10s %4d  %#-12x %s at %#x\n", i, place.Name, place.ID, place.Header, amount(place.Size), place.Block)
	}
	if p.doorbell != nil {
		fmt.Fprintf(&b, "\ndoorbell %s, one for all devices and queues\n", p.doorbell.spec.text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

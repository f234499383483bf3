package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/hypervisorless/virtio/transport/mmio"
)

// Measures of the picture, in pixels. Heights tell kinds of memory apart, not sizes: a header
// would be a thousandth of a line.
const (
	svgLeft  = 170 // of the boxes; addresses stand before it
	svgWidth = 420 // of the boxes; sizes stand behind them
	svgAll   = 700
	svgTop   = 100
)

var svgHeight = map[use]int{useRegisters: 34, useFree: 34, useTree: 50, usePool: 90}

// svgColour has a hue for each slot, strong for its registers and pale for its memory.
func svgColour(p piece) string {
	hue := 210 + 47*p.slot
	switch {
	case p.use == useRegisters:
		return fmt.Sprintf("hsl(%d,65%%,78%%)", hue%360)
	case p.use == usePool && p.slot >= 0:
		return fmt.Sprintf("hsl(%d,60%%,94%%)", hue%360)
	case p.use == usePool:
		return "hsl(140,45%,92%)"
	case p.use == useTree:
		return "hsl(50,80%,85%)"
	}
	return "hsl(0,0%,96%)"
}

// layoutSVG is a picture of the window, addresses growing downwards.
func layoutSVG(w io.Writer, p *plan, m mmio.Map) error {
	var b strings.Builder
	text := func(x, y int, attributes, format string, args ...any) {
		fmt.Fprintf(&b, `<text x="%d" y="%d"%s>`, x, y, attributes)
		xml.EscapeText(&b, fmt.Appendf(nil, format, args...)) // a Builder takes everything
		b.WriteString("</text>\n")
	}
	text(20, 34, ` font-size="18" font-weight="bold"`, "shared window of %s, layout %s", amount(m.Size), m.Layout)
	text(20, 56, ` fill="#555"`, "addresses are the driver's; heights are not to scale")
	if p.doorbell != nil {
		text(20, 76, ` fill="#555"`, "doorbell %s, one for all devices and queues", p.doorbell.spec.text)
	}
	const mono = ` font-family="monospace" text-anchor="end"`
	y := svgTop
	for _, piece := range pieces(m) {
		h := svgHeight[piece.use]
		dash := ""
		if piece.use == useFree {
			dash = ` stroke-dasharray="4 3"`
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s" stroke="#444"%s/>`+"\n",
			svgLeft, y, svgWidth, h, svgColour(piece), dash)
		text(svgLeft-10, y+5, mono, "%#x", piece.addr)
		text(svgLeft+14, y+h/2+5, "", "%s", piece.what)
		text(svgLeft+svgWidth+12, y+h/2+5, "", "%s", amount(piece.size))
		y += h
	}
	text(svgLeft-10, y+5, mono, "%#x", m.Addr+m.Size)
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="14">
<rect width="100%%" height="100%%" fill="white"/>
%s</svg>
`, svgAll, y+30, b.String())
	return err
}

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hypervisorless/virtio/transport/mmio"
)

// story prints what happens as it happens. The first error of its writer stays.
type story struct {
	w     io.Writer
	began time.Time
	err   error
}

func (s *story) print(text string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.w, text)
	}
}

// line is one thing that somebody did.
func (s *story) line(who, format string, args ...any) {
	s.print(fmt.Sprintf("%6.2f s  %-16s %s\n", time.Since(s.began).Seconds(), who, fmt.Sprintf(format, args...)))
}

// title begins a chapter.
func (s *story) title(format string, args ...any) {
	s.print("\n" + fmt.Sprintf(format, args...) + "\n")
}

// picture draws the window.
func (s *story) picture(m mmio.Map) {
	const width = 68
	edge := "+" + strings.Repeat("-", width+2) + "+\n"
	for _, p := range pieces(m) {
		s.print(fmt.Sprintf("  %#-12x", p.addr) + edge)
		size := amount(p.size)
		s.print(fmt.Sprintf("  %12s| %-*s%s |\n", "", width-len(size), p.what, size))
	}
	s.print(fmt.Sprintf("  %#-12x", m.Addr+m.Size) + edge)
}

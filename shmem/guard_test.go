package shmem

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/hypervisorless/virtio/internal/emulator"
)

func guarded(f func()) (err error) {
	defer Recover(&err, Guard())
	f()
	return nil
}

func TestDRV_33_Fault(t *testing.T) {
	if emulator.Here() {
		t.Skip("the emulator does not tell where a fault was; the test runs where it is native")
	}
	page := int64(os.Getpagesize())
	buf := make([]byte, 300)
	accesses := []struct {
		name string
		do   func(s Span)
	}{
		{"ReadAt", func(s Span) { s.ReadAt(buf, 5) }},
		{"ReadAt/short", func(s Span) { s.ReadAt(buf[:3], 5) }},
		{"WriteAt", func(s Span) { s.WriteAt(buf, 5) }},
		{"WriteAt/short", func(s Span) { s.WriteAt(buf[:3], 5) }},
		{"Zero", func(s Span) { s.Zero(5, 300) }},
		{"Zero/short", func(s Span) { s.Zero(5, 3) }},
		{"Load32", func(s Span) { sink += uint64(s.Load32(8)) }},
		{"Store32", func(s Span) { s.Store32(8, 1) }},
		{"CompareAndSwap32", func(s Span) { s.CompareAndSwap32(8, 0, 1) }},
		{"Load16", func(s Span) { sink += uint64(s.Load16(6)) }},
		{"Load16Plain", func(s Span) { sink += uint64(s.Load16Plain(6)) }},
		{"Store16Plain", func(s Span) { s.Store16Plain(6, 1) }},
		{"Store32Plain", func(s Span) { s.Store32Plain(8, 1) }},
		{"Load64Plain", func(s Span) { sink += s.Load64Plain(8) }},
		{"Store64Plain", func(s Span) { s.Store64Plain(8, 1) }},
	}
	for _, kind := range []Kind{Normal, Uncached, Device} {
		for _, a := range accesses {
			if a.name == "CompareAndSwap32" && !kind.CompareAndSwap() {
				continue
			}
			t.Run(kind.String()+"/"+a.name, func(t *testing.T) {
				r, err := OpenFile(filepath.Join(t.TempDir(), "window"), 2*page)
				mustSpan(t, r, err)
				// The fault comes in the second page; the first stays.
				s, err := r.As(kind).Span(uint64(page), uint64(page))
				if err != nil {
					t.Fatal(err)
				}
				if err := guarded(func() { a.do(s) }); err != nil {
					t.Fatalf("before the file was truncated: %v", err)
				}
				if err := r.File().Truncate(page); err != nil {
					t.Fatal(err)
				}
				var fault *FaultError
				switch err := guarded(func() { a.do(s) }); {
				case !errors.As(err, &fault):
					t.Errorf("error is %v, want a *FaultError", err)
				case fault.Addr-uintptr(s.p) >= uintptr(page):
					t.Errorf("fault at %#x, outside the page at %p", fault.Addr, s.p)
				}
				if debug.SetPanicOnFault(false) {
					t.Error("the guard still stands after Recover")
				}
				if err := r.File().Truncate(2 * page); err != nil {
					t.Fatal(err)
				}
				if err := guarded(func() { a.do(s) }); err != nil {
					t.Errorf("after the file came back: %v", err)
				}
			})
		}
	}
}

func TestDRV_33_OtherPanicsGoOn(t *testing.T) {
	strict, _ := NewStrict(64, 8)
	s := mustSpan(t, strict, nil)
	var nothing *Region
	isRuntime := func(v any) bool { _, ok := v.(runtime.Error); return ok }
	isAccess := func(v any) bool { _, ok := v.(*AccessError); return ok }
	tests := []struct {
		name string
		do   func()
		is   func(v any) bool
	}{
		{"nil dereference", func() { sink += nothing.Size() }, isRuntime},
		{"index", func() { sink += uint64([]byte{}[len(os.Args)]) }, isRuntime},
		{"bounds of a span", func() { s.ReadAt(make([]byte, 2), 63) }, isAccess},
		{"misaligned word", func() { s.Load32(2) }, isAccess},
		{"compare-and-swap on device memory", func() { s.CompareAndSwap32(0, 0, 1) }, isAccess},
		{"what a strict region refuses", func() { strict.word(s.p, 1, 4) }, isAccess},
		{"somebody's own", func() { panic("own") }, func(v any) bool { return v == "own" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if v := recover(); !tt.is(v) {
					t.Errorf("panic with %v", v)
				}
				if debug.SetPanicOnFault(false) {
					t.Error("the guard still stands after Recover")
				}
			}()
			t.Errorf("swallowed: %v", guarded(tt.do))
		})
	}
}

func TestGuard_Nests(t *testing.T) {
	err := guarded(func() {
		if err := guarded(func() {}); err != nil {
			t.Error(err)
		}
		if !debug.SetPanicOnFault(true) {
			t.Error("the inner Recover ended the outer guard")
		}
	})
	if err != nil {
		t.Error(err)
	}
}

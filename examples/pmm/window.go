package main

import (
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
)

// window is the shared memory as -shmem describes it, not yet opened.
type window struct {
	spec    *spec
	addr    uint64 // driver address of the first byte
	addrSet bool
	size    uint64 // 0: what is there
}

const shmemKinds = "file:PATH,size=SIZE,addr=ADDR; memfd:size=SIZE,addr=ADDR; uio:NAME[,addr=ADDR]; devmem:addr=ADDR,size=SIZE"

func parseWindow(text string) (*window, error) {
	s, err := parseSpec("shmem", text)
	if err != nil {
		return nil, err
	}
	// memfd and devmem have no address part: what follows the colon is the first option.
	if (s.kind == "memfd" || s.kind == "devmem") && s.addr != "" {
		s2, err := parseSpec("shmem", s.kind+","+text[len(s.kind)+1:])
		if err != nil {
			return nil, err
		}
		s2.text = text
		s = s2
	}
	w := &window{spec: s}
	if w.addr, w.addrSet, err = s.address("addr"); err != nil {
		return nil, err
	}
	accepted := []string{"addr"}
	if s.kind != "uio" {
		accepted = append(accepted, "size")
		if w.size, err = s.bytes("size"); err != nil {
			return nil, err
		}
	}
	switch {
	case s.kind != "file" && s.kind != "memfd" && s.kind != "uio" && s.kind != "devmem":
		return nil, s.errorf("unknown kind %q; accepted are %s", s.kind, shmemKinds)
	case (s.kind == "file" || s.kind == "uio") && s.addr == "":
		return nil, s.errorf("accepted are %s", shmemKinds)
	case s.kind != "uio" && (w.size == 0 || !w.addrSet):
		return nil, s.errorf("size and addr are needed; accepted are %s", shmemKinds)
	}
	return w, s.done(accepted...)
}

// open maps the memory. For a UIO map, address and size come from sysfs.
func (w *window) open() (*shmem.Region, error) {
	switch w.spec.kind {
	case "file":
		return shmem.OpenFile(w.spec.addr, int64(w.size))
	case "memfd":
		return shmem.NewMemfd("virtio-window", int64(w.size))
	case "devmem":
		return shmem.OpenDevMem(w.addr, w.size)
	}
	region, addr, err := shmem.OpenUIO(w.spec.addr, 0)
	if err != nil {
		return nil, err
	}
	if w.addrSet && w.addr != addr {
		region.Close()
		return nil, fmt.Errorf("-shmem %q: the kernel says that %s lies at %#x", w.spec.text, w.spec.addr, addr)
	}
	w.addr, w.size = addr, region.Size()
	return region, nil
}

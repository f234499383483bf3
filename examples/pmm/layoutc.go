package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/hypervisorless/virtio/transport/mmio"
)

// registers are the words of a header by their names in C.
var registers = []struct {
	name   string
	offset int
	what   string
}{
	{"MAGIC", mmio.RegMagic, "VIRTIO_HVL_MAGIC_VALUE once the monitor is ready"},
	{"VERSION", mmio.RegVersion, "1"},
	{"DEVICE_ID", mmio.RegDeviceID, "0: no device"},
	{"VENDOR_ID", mmio.RegVendorID, ""},
	{"DEVICE_FEATURES", mmio.RegDeviceFeatures, "bits 0 to 31"},
	{"DEVICE_FEATURES_SEL", mmio.RegDeviceFeaturesSel, "write 0"},
	{"DRIVER_FEATURES", mmio.RegDriverFeatures, "driver writes, then rings"},
	{"DRIVER_FEATURES_SEL", mmio.RegDriverFeaturesSel, "write 0"},
	{"GUEST_PAGE_SIZE", mmio.RegGuestPageSize, "driver writes VIRTIO_HVL_PAGE_SIZE at every boot"},
	{"QUEUE_SEL", mmio.RegQueueSel, "driver writes"},
	{"QUEUE_NUM_MAX", mmio.RegQueueNumMax, "largest ring of every queue"},
	{"QUEUE_NUM", mmio.RegQueueNum, "driver writes"},
	{"QUEUE_ALIGN", mmio.RegQueueAlign, "driver writes VIRTIO_HVL_PAGE_SIZE, just before QUEUE_PFN"},
	{"QUEUE_PFN", mmio.RegQueuePFN, "driver writes, rings, and waits for VIRTIO_HVL_QUEUE_ACK"},
	{"QUEUE_NOTIFY", mmio.RegQueueNotify, "driver writes, then rings"},
	{"INTERRUPT_STATUS", mmio.RegInterruptStatus, "bit 0: buffers were used"},
	{"INTERRUPT_ACK", mmio.RegInterruptACK, "driver writes what it saw, then rings"},
	{"STATUS", mmio.RegStatus, "driver writes, then rings"},
	{"SHM_LEN_LOW", mmio.RegSHMLenLow, ""},
	{"SHM_LEN_HIGH", mmio.RegSHMLenHigh, ""},
	{"SHM_BASE_LOW", mmio.RegSHMBaseLow, ""},
	{"SHM_BASE_HIGH", mmio.RegSHMBaseHigh, ""},
	{"CONFIG_GENERATION", mmio.RegConfigGeneration, "odd while the configuration changes"},
	{"CONFIG", mmio.RegConfig, "the device's configuration"},
}

// layoutC is a header for firmware.
func layoutC(w io.Writer, p *plan, m mmio.Map) error {
	if m.Layout == mmio.Modern {
		return layoutCPages(w, p, m)
	}
	h := newCHeader(m)
	if first := m.Places[0]; m.Layout == mmio.Table {
		h.define("POOL_ADDR", h.address(first.Block), "rings and buffers of all devices go here")
		h.define("POOL_SIZE", h.address(first.Size), amount(first.Size))
	} else {
		h.define("TREE_ADDR", h.address(m.Addr), "the device tree fragment")
		h.define("TREE_SIZE", h.address(first.Header-m.Addr), "at most")
	}
	h.define("PAGE_SIZE", fmt.Sprint(mmio.PageSize), "also the alignment of the used ring")
	h.define("HEADER_SIZE", fmt.Sprintf("0x%x", mmio.HeaderSize), "registers and configuration")
	h.define("MAGIC_VALUE", fmt.Sprintf("0x%xu", mmio.Magic), "")
	h.define("QUEUE_ACK", fmt.Sprintf("0x%Xu", mmio.QueueAck), "in QUEUE_PFN: the queue is configured")
	h.text("\n/* Registers: 32-bit little-endian words at these offsets from a header. */\n")
	for _, r := range registers {
		h.define("REG_"+r.name, fmt.Sprintf("0x%03x", r.offset), r.what)
	}
	h.text("\n/* The devices, in the order of their headers. */\n")
	h.define("DEVICES", fmt.Sprint(len(m.Places)), "")
	for i, place := range m.Places {
		name := cName(p.devices[i].name)
		h.define(name+"_SLOT", fmt.Sprint(i), "")
		h.define(name+"_TYPE", fmt.Sprint(uint32(place.ID)), "what DEVICE_ID reads")
		h.define(name+"_HEADER", h.address(place.Header), "")
		h.define(name+"_SHM_ADDR", h.address(place.Block), "memory published as the device's")
		h.define(name+"_SHM_SIZE", h.address(place.Size), amount(place.Size))
	}
	return h.write(w)
}

// suffix makes a constant large enough for every address of the window, in C99.
func suffix(m mmio.Map) string {
	if m.Addr+(m.Size-1) > 1<<32-1 {
		return "ull"
	}
	return "u"
}

// cName is a device's name as part of an identifier.
func cName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		if r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}

// cHeader is a header for firmware in the making. All numbers fit the preprocessor.
type cHeader struct {
	b strings.Builder
	m mmio.Map
}

// newCHeader begins a header with the window.
func newCHeader(m mmio.Map) *cHeader {
	h := &cHeader{m: m}
	h.text("/* Written by pmm layout -format c. Addresses are the driver's, sizes are in bytes. */\n")
	h.text("#ifndef VIRTIO_HVL_H\n#define VIRTIO_HVL_H\n\n")
	h.define("WINDOW_ADDR", h.address(m.Addr), "")
	h.define("WINDOW_SIZE", h.address(m.Size), amount(m.Size))
	return h
}

func (h *cHeader) text(s string) { h.b.WriteString(s) }

func (h *cHeader) address(a uint64) string { return fmt.Sprintf("0x%x", a) + suffix(h.m) }

func (h *cHeader) define(name, value, comment string) {
	line := fmt.Sprintf("#define %-40s %s", "VIRTIO_HVL_"+name, value)
	if comment != "" {
		line = fmt.Sprintf("%-66s /* %s */", line, comment)
	}
	h.text(line + "\n")
}

func (h *cHeader) write(w io.Writer) error {
	h.text("\n#endif\n")
	_, err := io.WriteString(w, h.b.String())
	return err
}

package main

import (
	"fmt"
	"io"

	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
)

// treeFormats describe legacy headers to device tree readers. A window of slot pages has its own
// directory instead.
var treeFormats = []string{"dts", "dtb", "zephyr"}

// pagePieces cuts a window of slot pages into its parts, without a gap.
func pagePieces(m mmio.Map, add func(end uint64, use use, slot int, what string)) {
	add(hvl2.DirectoryOff, useFree, -1, "not used")
	add(m.Places[0].Page.SlotOff, useTree, -1, "directory")
	for i, p := range m.Places {
		add(p.Page.SlotOff+p.Page.SlotSize, useRegisters, i, p.Name+": slot page")
		add(p.Page.InflightOff+p.Page.InflightSize, useFree, i, p.Name+": what is in flight, the monitor's")
	}
	add(m.Places[0].Page.MemOff, useFree, -1, fmt.Sprintf("room for %d more pages", pagesLeft(m)))
	for i, p := range m.Places {
		add(p.Page.MemOff+p.Page.MemSize, usePool, i, p.Name+": rings and buffers, placed by the driver")
	}
	add(m.Size, useFree, -1, "not used")
}

// pagesLeft is how many slot pages fit before the first device's memory.
func pagesLeft(m mmio.Map) uint64 {
	last := m.Places[len(m.Places)-1].Page
	end := last.InflightOff + last.InflightSize
	return (m.Places[0].Page.MemOff - end) / (end - last.SlotOff)
}

// pageWords are the words of a slot page by their names in C.
var pageWords = []struct {
	name   string
	offset int
	what   string
}{
	{"REG_MAGIC", hvl2.RegMagic, "VIRTIO_HVL_MAGIC_VALUE once the page can be used"},
	{"REG_VERSION", hvl2.RegVersion, "2 or 3"},
	{"REG_DEVICE_ID", hvl2.RegDeviceID, "0: no device"},
	{"REG_VENDOR_ID", hvl2.RegVendorID, ""},
	{"REG_DEVICE_FEATURES", hvl2.RegDeviceFeatures, "of the word selected"},
	{"REG_DEVICE_FEATURES_SEL", hvl2.RegDeviceFeaturesSel, "transaction"},
	{"REG_DRIVER_FEATURES", hvl2.RegDriverFeatures, "transaction"},
	{"REG_DRIVER_FEATURES_SEL", hvl2.RegDriverFeaturesSel, "transaction"},
	{"REG_QUEUE_SEL", hvl2.RegQueueSel, "transaction"},
	{"REG_QUEUE_SIZE_MAX", hvl2.RegQueueSizeMax, "of the queue selected; 0: none such"},
	{"REG_QUEUE_SIZE", hvl2.RegQueueSize, "transaction"},
	{"REG_QUEUE_READY", hvl2.RegQueueReady, "transaction, and reads back"},
	{"REG_STATUS", hvl2.RegStatus, "transaction, and reads back"},
	{"REG_QUEUE_DESC_LOW", hvl2.RegQueueDescLow, "transaction"},
	{"REG_QUEUE_DESC_HIGH", hvl2.RegQueueDescHigh, "transaction"},
	{"REG_QUEUE_DRIVER_LOW", hvl2.RegQueueDriverLow, "transaction"},
	{"REG_QUEUE_DRIVER_HIGH", hvl2.RegQueueDriverHigh, "transaction"},
	{"REG_QUEUE_DEVICE_LOW", hvl2.RegQueueDeviceLow, "transaction"},
	{"REG_QUEUE_DEVICE_HIGH", hvl2.RegQueueDeviceHigh, "transaction"},
	{"REG_QUEUE_RESET", hvl2.RegQueueReset, "transaction"},
	{"REG_CONFIG_GENERATION", hvl2.RegConfigGeneration, "odd while the configuration changes"},
	{"REG_CONFIG", hvl2.RegConfig, "the device's configuration"},
	{"IDENT", hvl2.OffIdent, "VIRTIO_HVL_IDENT_VALUE"},
	{"PAGE_VERSION", hvl2.OffPageVersion, "major in the upper half: 2"},
	{"TXN_ACK", hvl2.OffTxnAck, "the last transaction that is complete"},
	{"TXN_RESULT", hvl2.OffTxnResult, "of that: 0 done, 3 reset first"},
	{"BEAT", hvl2.OffBeat, "moves while a transaction takes its time"},
	{"EPOCH", hvl2.OffEpoch, "another one: attach again"},
	{"USED_EVENTS", hvl2.OffUsedEvents, "interrupt while not USED_SEEN"},
	{"CONFIG_EVENTS", hvl2.OffConfigEvents, "interrupt while not CONFIG_SEEN"},
	{"ADDR_BASE", hvl2.OffAddrBase, "64 bits: address of the device's memory"},
	{"MEM_OFF", hvl2.OffMemOff, "64 bits, from the window's start"},
	{"MEM_SIZE", hvl2.OffMemSize, "64 bits"},
	{"TXN_SEQ", hvl2.OffTxnSeq, "driver stores last, then rings"},
	{"TXN_CMD", hvl2.OffTxnCmd, "driver stores register | width << 16"},
	{"TXN_VAL", hvl2.OffTxnVal, "driver stores"},
	{"USED_SEEN", hvl2.OffUsedSeen, "driver stores USED_EVENTS as it read it"},
	{"CONFIG_SEEN", hvl2.OffConfigSeen, "driver stores CONFIG_EVENTS as it read it"},
}

// layoutCPages is a header for firmware that drives slot pages.
func layoutCPages(w io.Writer, p *plan, m mmio.Map) error {
	h := newCHeader(m)
	h.define("DIRECTORY", fmt.Sprintf("0x%x", hvl2.DirectoryOff), "from the window's start; says all of the below, too")
	h.define("PAGE_SIZE", fmt.Sprintf("0x%x", hvl2.PageSize), "of a slot page")
	h.define("MAGIC_VALUE", fmt.Sprintf("0x%xu", hvl2.Magic), "")
	h.define("IDENT_VALUE", fmt.Sprintf("0x%xu", hvl2.Ident), "also the directory's first word")
	h.text("\n/* Words of a slot page: 32 bits, little-endian. The driver loads all, and stores its own alone. */\n")
	for _, r := range pageWords {
		h.define(r.name, fmt.Sprintf("0x%03x", r.offset), r.what)
	}
	h.text("\n/* The devices, in the order of their pages. */\n")
	h.define("DEVICES", fmt.Sprint(len(m.Places)), "")
	for i, place := range m.Places {
		name := cName(p.devices[i].name)
		h.define(name+"_SLOT", fmt.Sprint(i), "")
		h.define(name+"_TYPE", fmt.Sprint(uint32(place.ID)), "what DEVICE_ID reads")
		h.define(name+"_PAGE", h.address(place.Header), "")
		h.define(name+"_MEM_ADDR", h.address(place.Block), "its rings and buffers go here")
		h.define(name+"_MEM_SIZE", h.address(place.Size), amount(place.Size))
	}
	return h.write(w)
}

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/hypervisorless/virtio/transport/mmio"
)

// layoutDTS is device tree source for Linux on either side.
func layoutDTS(w io.Writer, _ *plan, m mmio.Map) error {
	var b strings.Builder
	fmt.Fprintf(&b, `/dts-v1/;
// Written by pmm layout -format dts. Take the nodes that your side needs.

/ {
	#address-cells = <2>;
	#size-cells = <2>;

	// Both sides: nobody else may use the window.
	reserved-memory {
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;

		virtio_window: virtio-window@%[1]x {
			reg = %[2]s;
			no-map;
		};
	};

	// The monitor's side, with uio_pdrv_genirq.of_id=generic-uio on the kernel's command line:
	// pmm run -shmem uio:virtio-window …
	monitor-side {
		compatible = "simple-bus";
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;

		virtio-window@%[1]x {
			compatible = "generic-uio";
			reg = %[2]s;
		};
	};

	// The front-end's side. Add the interrupt of the doorbell, the same one to each.
	driver-side {
		compatible = "simple-bus";
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
`, m.Addr, reg64(m.Addr, m.Size))
	for _, p := range m.Places {
		fmt.Fprintf(&b, `
		virtio@%x { // %s
			compatible = "virtio,mmio";
			reg = %s;
			memory-region = <&virtio_window>;
			dma-coherent;
		};
`, p.Header, p.Name, reg64(p.Header, mmio.HeaderSize))
	}
	b.WriteString("\t};\n};\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// reg64 is a reg property of two cells each.
func reg64(addr, size uint64) string {
	return fmt.Sprintf("<%#x %#x %#x %#x>", addr>>32, uint32(addr), size>>32, uint32(size))
}

// layoutZephyr is an overlay for a Zephyr front-end whose driver takes virtio,mmio nodes with
// the device as a child.
func layoutZephyr(w io.Writer, p *plan, m mmio.Map) error {
	cells, reg := 1, func(addr, size uint64) string { return fmt.Sprintf("<%#x %#x>", addr, size) }
	if m.Addr+(m.Size-1) > 1<<32-1 {
		cells, reg = 2, reg64
	}
	var b strings.Builder
	fmt.Fprintf(&b, `/* Written by pmm layout -format zephyr.
 * The root's address and size cells are taken to be %[1]d. Add the interrupt of the doorbell to
 * each virtio node, as interrupts and interrupt-parent of your board.
 */
/ {
	reserved-memory {
		compatible = "reserved-memory";
		#address-cells = <%[1]d>;
		#size-cells = <%[1]d>;
		status = "okay";
		ranges;

		virtio_window: vmram@%[2]x {
			reg = %[3]s;
			device_type = "memory";
			label = "virtio_window";
			status = "okay";
		};
	};
`, cells, m.Addr, reg(m.Addr, m.Size))
	for i, place := range m.Places {
		child := zephyrChild(p.devices[i].spec.kind)
		fmt.Fprintf(&b, `
	virtio_mmio@%x {
		compatible = "virtio,mmio";
		reg = %s;
		memory-region = <&virtio_window>;
		dma-coherent;
		label = "virtio%d";
		status = "okay";

		virtio%d: %s {
			compatible = "virtio-%s";
			label = "virt-%s";
		};
	};
`, place.Header, reg(place.Header, mmio.HeaderSize), i, i, child, child, child)
	}
	b.WriteString("};\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// zephyrChild is what a kind of device is called there.
func zephyrChild(kind string) string {
	if kind == "console" {
		return "serial"
	}
	return kind
}

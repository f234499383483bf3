package console

import (
	"encoding/binary"
	"fmt"
)

// The configuration space (5.3.4): le16 cols, le16 rows, le32 max_nr_ports, le32 emerg_wr.
const (
	configPorts     = 4
	configEmergency = 8
	configLen       = 12
)

// ReadConfig implements virtio.Backend.
func (d *Device) ReadConfig(p []byte, off int) {
	d.mu.Lock()
	w := d.ports[0].window
	d.mu.Unlock()
	var c [configLen]byte
	binary.LittleEndian.PutUint16(c[0:], w.cols)
	binary.LittleEndian.PutUint16(c[2:], w.rows)
	binary.LittleEndian.PutUint32(c[configPorts:], uint32(len(d.ports)))
	copy(p, c[off:])
}

// WriteConfig implements virtio.ConfigWriter: the emergency write, which works before the
// driver has done anything else (5.3.4). Only its low byte counts.
func (d *Device) WriteConfig(p []byte, off int) error {
	if d.opts.Emergency == nil || off != configEmergency || len(p) == 0 {
		return fmt.Errorf("%d bytes at offset %d are not the driver's to write", len(p), off)
	}
	_, err := d.opts.Emergency.Write(p[:1])
	return err
}

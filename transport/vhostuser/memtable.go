package vhostuser

import "fmt"

// onSetMemTable replaces the memory. Queues that are live go on in the new one.
func (c *conn) onSetMemTable(m *message) error {
	if len(m.regions) > maxSlots {
		return fatal(errSlots)
	}
	var table memory
	for i, d := range m.regions {
		r, err := mapRegion(d, c.in.take(i))
		if err != nil {
			table.close()
			return fatal(err)
		}
		table.regions = append(table.regions, r)
	}
	if err := table.build(); err != nil {
		table.close()
		return fatal(err)
	}
	if err := c.still(); err != nil {
		table.close()
		return err
	}
	c.mem.close()
	c.mem = table
	return nil
}

// onAddMemReg adds one region.
func (c *conn) onAddMemReg(m *message) error {
	if len(c.mem.regions) == maxSlots {
		return fatal(errSlots)
	}
	r, err := mapRegion(m.regions[0], c.in.take(0))
	if err != nil {
		return fatal(err)
	}
	return c.remap(append(c.mem.regions[:len(c.mem.regions):len(c.mem.regions)], r), r)
}

// onRemMemReg removes the region with these addresses.
func (c *conn) onRemMemReg(m *message) error {
	d := m.regions[0]
	for i, r := range c.mem.regions {
		if r.guest == d.guest && r.user == d.user && r.size == d.size {
			rest := append(c.mem.regions[:i:i], c.mem.regions[i+1:]...)
			return c.remap(rest, r)
		}
	}
	return fmt.Errorf("there is no memory region of %#x bytes at %#x (%#x)", d.size, d.guest, d.user)
}

// remap goes on with these regions; one is the region that came or goes.
func (c *conn) remap(regions []region, one region) error {
	table := memory{regions: regions}
	added := len(regions) > len(c.mem.regions)
	if err := table.build(); err != nil {
		if added {
			_ = one.mapped.Close()
		}
		return fatal(err)
	}
	if err := c.still(); err != nil {
		if added {
			_ = one.mapped.Close()
		}
		return err
	}
	if !added {
		_ = one.mapped.Close()
	}
	c.mem = table
	return nil
}

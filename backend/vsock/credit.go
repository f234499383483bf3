package vsock

// credit is what one end of a connection knows of both windows (5.10.6.3). The counters are of
// bytes since the connection began; they wrap, and only their differences mean anything.
type credit struct {
	window    uint32 // ours: how much the driver may have under way to the application
	forwarded uint32 // how much of what the driver sent has reached the application
	told      uint32 // forwarded, as the driver was told last

	sent          uint32 // to the driver
	peerWindow    uint32
	peerForwarded uint32
}

// heard takes what a packet of the driver's says of its window. False means that the driver
// claims to have consumed what was never sent.
func (c *credit) heard(h *header) bool {
	c.peerWindow, c.peerForwarded = h.alloc, h.forwarded
	return int32(c.sent-c.peerForwarded) >= 0
}

// free is how many bytes the driver takes now. A window that shrank below what is under way
// already is a full one.
func (c *credit) free() uint32 {
	underway := c.sent - c.peerForwarded
	if window := min(c.peerWindow, 1<<30); underway < window {
		return window - underway
	}
	return 0
}

// tell puts our half into a packet.
func (c *credit) tell(h *header) {
	h.alloc, h.forwarded = c.window, c.forwarded
	c.told = c.forwarded
}

// stale reports whether the driver is to be told how much has been consumed: with half the
// window unannounced it may soon wait for room that there is.
func (c *credit) stale() bool {
	return c.forwarded-c.told >= c.window/2
}

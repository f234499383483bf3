package vring

// Journal is told what is in flight, so that the successor of a killed process can go on: what
// was taken and not returned is its Config.Redo. The owner of the queue calls it, with the
// memory guarded and the session standing; it must neither wait nor allocate. Each call
// describes a store that comes right after it or came right before, and a process can die
// between any two.
type Journal interface {
	// Take is called before a chain is read: head stands at entry pos of the available ring.
	// Heads that are done again are not taken a second time.
	Take(head, pos uint16)
	// Return is called when the element of head was written to entry pos of the used ring,
	// which the used index does not show yet.
	Return(head, pos uint16)
	// Publish is called when the used index was stored: the driver owns all that was returned.
	Publish(used uint16)
}

package mmio

// point is a place in the scan or in a worker where the front-end can do anything meanwhile. The
// directed tests stop the shipping code there.
type point int

const (
	pointWoken    point = iota // after the doorbell was consumed, before the first load
	pointPFN                   // after QueuePFN was read
	pointGPS                   // after GuestPageSize was read
	pointStatus                // after Status was read
	pointSel                   // between QueueSel and QueueNum
	pointPoison                // after the sentinel went into QueueAlign, before the ack
	pointReread                // plain stores: between the last look and the ack
	pointAcked                 // after the ack, before the second look at GuestPageSize
	pointNotify                // a worker: after the used index, before InterruptStatus
	pointDoorbell              // a worker: after InterruptStatus, before the doorbell
	pointIdle                  // after the last load, before the sleep
	pointMemory                // a worker: after the look at GuestPageSize, before its access
	pointConfig                // between the odd generation and the even one
)

func (b *Bus) at(p point, s *slot) {
	if b.hook != nil {
		b.hook(p, s)
	}
}

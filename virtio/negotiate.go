package virtio

import "fmt"

// requires lists the ring and transport features that make sense only with another (6).
var requires = []struct{ bit, base Feature }{
	{AccessPlatform, Version1},
	{InOrder, Version1},
	{OrderPlatform, Version1},
	{RingReset, Version1},
}

// offerable holds what a transport may offer: the bits that are neither reserved, nor another
// transport's, nor without anything here that implements them (2.2.2, 6.2, 6.3).
var offerable = FeatureSet(AnyLayout, IndirectDesc, EventIdx, Version1, AccessPlatform, InOrder, OrderPlatform, RingReset)

// The bits that are no device type's (2.2).
const (
	firstReserved Feature = 24
	lastReserved  Feature = 49
)

// checkOffer refuses what a device must not offer.
func checkOffer(info Info, transport Features) error {
	for b := firstReserved; b <= lastReserved; b++ {
		if info.Features.Has(b) {
			return fmt.Errorf("feature %d belongs to the rings and the transport, not to a device", b)
		}
	}
	if bad := transport.Without(offerable); bad != (Features{}) {
		return fmt.Errorf("features %v are not to be offered by a transport", bad)
	}
	if transport.Has(InOrder) && !info.InOrder {
		return fmt.Errorf("feature %d (IN_ORDER): the device does not complete its queues in order", InOrder)
	}
	return dependencies(transport)
}

func dependencies(f Features) error {
	for _, r := range requires {
		if f.Has(r.bit) && !f.Has(r.base) {
			return fmt.Errorf("feature %d needs feature %d", r.bit, r.base)
		}
	}
	return nil
}

// negotiated is what the driver asked for of what is offered. Callers hold d.mu.
func (d *Device) negotiated() Features { return d.driver.And(d.offered) }

// SetDriverFeatures takes the driver's feature set (2.2), bit for bit as written. From
// FEATURES_OK, or the first queue that is enabled, it is frozen and the call does nothing. The
// result holds the bits that were never offered.
func (d *Device) SetDriverFeatures(f Features) (unknown Features) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen() {
		return Features{}
	}
	d.driver = f
	return f.Without(d.offered)
}

// DriverFeatures is the set the driver wrote.
func (d *Device) DriverFeatures() Features {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.driver
}

// acceptable checks a modern driver's set for FEATURES_OK (2.2.2, 3.1.1, 6.1).
func (d *Device) acceptable() error {
	if unknown := d.driver.Without(d.offered); unknown != (Features{}) {
		return fmt.Errorf("features %v were not offered", unknown)
	}
	if d.offered.Has(Version1) && !d.driver.Has(Version1) {
		return fmt.Errorf("feature %d (VERSION_1) is required", Version1)
	}
	return d.workable(d.driver)
}

// workable asks whether the features go together, for the rings and for the device.
func (d *Device) workable(f Features) (err error) {
	if err := dependencies(f); err != nil {
		return err
	}
	n, ok := d.backend.(Negotiator)
	if !ok {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = d.panicked("Negotiate", r)
		}
	}()
	return n.Negotiate(f)
}

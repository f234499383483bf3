package virtio

import "fmt"

// requires lists the ring and transport features that make sense only with another (6).
var requires = []struct{ bit, base Feature }{
	{OrderPlatform, Version1},
	{AccessPlatform, Version1},
	{RingReset, Version1},
	{NotificationData, Version1},
}

// never lists bits that are not to be offered over the transports here: PCI's own, and
// those nothing here implements (2.2.2, 6.2).
var never = FeatureSet(SRIOV, AdminVQ, NotifConfigData, RingPacked, Suspend, 44, 45, 46, 47, 48, 49, 30)

// checkOffer refuses what a device must not offer.
func checkOffer(device, transport Features) error {
	offered := device.With(transport)
	if bad := offered.And(never); bad != (Features{}) {
		return fmt.Errorf("features %v are not to be offered", bad)
	}
	for b := NotifyOnEmpty; b < 50; b++ {
		if device.Has(b) {
			return fmt.Errorf("feature %d belongs to the rings and the transport, not to a device", b)
		}
	}
	return dependencies(offered)
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

// SetDriverFeatures takes the driver's feature set (2.2), bit for bit as written. Once
// FEATURES_OK is set it is frozen. The result holds the bits that were never offered.
func (d *Device) SetDriverFeatures(f Features) (unknown Features) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.status&FeaturesOK != 0 || d.session != nil {
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

// acceptable checks a modern driver's set for FEATURES_OK (2.2.2, 3.1.1).
func (d *Device) acceptable() error {
	if unknown := d.driver.Without(d.offered); unknown != (Features{}) {
		return fmt.Errorf("features %v were not offered", unknown)
	}
	if d.offered.Has(Version1) && !d.driver.Has(Version1) {
		return fmt.Errorf("feature %d (VERSION_1) is required", Version1)
	}
	if err := dependencies(d.driver); err != nil {
		return err
	}
	if n, ok := d.backend.(Negotiator); ok {
		return n.Negotiate(d.driver)
	}
	return nil
}

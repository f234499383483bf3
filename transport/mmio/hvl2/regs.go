package hvl2

// The register map of virtio-mmio version 2 (4.2.2), offsets from the start of a slot page. All
// words are the device's: a driver loads them, and writes one by a transaction.
const (
	RegMagic             = 0x000 // Magic; stored last
	RegVersion           = 0x004 // 2, or 3 where so configured
	RegDeviceID          = 0x008 // 0: no device, skip it
	RegVendorID          = 0x00c
	RegDeviceFeatures    = 0x010 // of the window that DeviceFeaturesSel selects
	RegDeviceFeaturesSel = 0x014
	RegDriverFeatures    = 0x020
	RegDriverFeaturesSel = 0x024
	RegQueueSel          = 0x030
	RegQueueSizeMax      = 0x034 // of the queue that QueueSel selects; 0: none such
	RegQueueSize         = 0x038
	RegQueueReady        = 0x044
	RegQueueNotify       = 0x050 // no transaction: the doorbell alone
	RegInterruptStatus   = 0x060 // reads 0: the driver compares the event counters
	RegInterruptACK      = 0x064 // no transaction: the driver stores what it has seen
	RegStatus            = 0x070
	RegQueueDescLow      = 0x080
	RegQueueDescHigh     = 0x084
	RegQueueDriverLow    = 0x090
	RegQueueDriverHigh   = 0x094
	RegQueueDeviceLow    = 0x0a0
	RegQueueDeviceHigh   = 0x0a4
	RegSHMSel            = 0x0ac
	RegSHMLenLow         = 0x0b0 // all ones: no such region
	RegSHMLenHigh        = 0x0b4
	RegSHMBaseLow        = 0x0b8
	RegSHMBaseHigh       = 0x0bc
	RegQueueReset        = 0x0c0
	RegConfigGeneration  = 0x0fc // odd: an update is in progress
	RegConfig            = 0x100
)

const (
	// Magic is what RegMagic holds once the page can be used: "virt".
	Magic = 0x74726976
	// VendorID tells this implementation from others: "hvlv".
	VendorID = 0x766c7668
	// ConfigSize is the room for a device's configuration space.
	ConfigSize = OffIdent - RegConfig
)

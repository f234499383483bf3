package mmio

// Register offsets from the start of a header (4.2.2, 4.2.4), all little-endian 32-bit words.
const (
	RegMagic             = 0x000
	RegVersion           = 0x004
	RegDeviceID          = 0x008
	RegVendorID          = 0x00c
	RegDeviceFeatures    = 0x010
	RegDeviceFeaturesSel = 0x014
	RegDriverFeatures    = 0x020
	RegDriverFeaturesSel = 0x024
	RegGuestPageSize     = 0x028
	RegQueueSel          = 0x030
	RegQueueNumMax       = 0x034
	RegQueueNum          = 0x038
	RegQueueAlign        = 0x03c
	RegQueuePFN          = 0x040
	RegQueueNotify       = 0x050
	RegInterruptStatus   = 0x060
	RegInterruptACK      = 0x064
	RegStatus            = 0x070
	RegSHMLenLow         = 0x0b0
	RegSHMLenHigh        = 0x0b4
	RegSHMBaseLow        = 0x0b8
	RegSHMBaseHigh       = 0x0bc
	RegConfigGeneration  = 0x0fc
	RegConfig            = 0x100
)

// Values of the registers as the deployed front-ends know them.
const (
	Magic = 0x74726976 // "virt"
	// QueueAck is what the device stores in QueuePFN when the queue is configured.
	QueueAck = 0xAABBAABB
	// PageSize is what every deployed front-end writes as GuestPageSize and QueueAlign.
	PageSize = 4096
	// VendorID tells this implementation from others: "hvlv".
	VendorID = 0x766c7668

	InterruptUsed   = 1 // InterruptStatus: buffers were used
	InterruptConfig = 2 // InterruptStatus: the configuration changed

	HeaderSize = 0x200 // registers and configuration space
	ConfigSize = HeaderSize - RegConfig
)

// Words of the header that no register uses and every deployed front-end leaves alone. The
// device keeps here what a monitor needs to attach to a live window after a restart of its own.
const (
	regRecord     = 0x0c4 // checksum of the words after it
	regRecordLast = 0x0f8
)

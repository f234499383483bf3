package hvl2

// PageSize is the size of a slot page, and what a page and the memory of a device are aligned
// to.
const PageSize = 0x1000

// The device's control line: words that the device alone stores.
const (
	OffIdent        = 0x800 // Ident
	OffPageVersion  = 0x804 // Version
	OffTxnAck       = 0x808 // number of the last transaction that is complete
	OffTxnResult    = 0x80c // of that transaction, a Result
	OffBeat         = 0x810 // moves while a transaction takes its time
	OffEpoch        = 0x814 // not 0; another one: the device has lost the state it had
	OffUsedEvents   = 0x818 // counts used-buffer notifications
	OffConfigEvents = 0x81c // counts configuration-change notifications
	OffStarts       = 0x820 // counts starts of the monitor
)

// Where the slot lies: words of the device that never change. Window offset x of the device's
// memory is the address AddrBase + (x - MemOff), for queue areas and descriptors alike.
const (
	OffAddrBase   = 0x840 // 64 bits, low word first, as are the next three
	OffMemOff     = 0x848 // from the start of the window
	OffMemSize    = 0x850 // bytes
	OffSlotOff    = 0x858 // of this page, from the start of the window
	OffConfigSize = 0x860 // bytes of configuration space
	OffQueueCount = 0x864
	OffRequired   = 0x868 // bits a driver must know; none is defined
	OffOptional   = 0x86c // bits a driver may know; none is defined
)

// The driver's line: words that the driver alone stores.
const (
	OffTxnSeq     = 0x880 // stored last; a transaction is outstanding while it differs from TxnAck
	OffTxnCmd     = 0x884 // a Command
	OffTxnVal     = 0x888
	OffUsedSeen   = 0x890 // UsedEvents as last acknowledged
	OffConfigSeen = 0x894 // ConfigEvents as last acknowledged
)

// Values of the words above.
const (
	Ident   = 0x326C7668 // "hvl2", of a page and of a directory
	Version = 2 << 16    // major<<16 | minor, of both
	// MajorShift of a version gives the number that has to be known to go on.
	MajorShift = 16
)

// A Result is what became of a transaction.
type Result uint32

// The results.
const (
	Done       Result = 0 // its effect is complete
	NoRegister Result = 1 // no such register, or not of that width
	Refused    Result = 2 // the register does not take that value now; nothing changed
	ResetFirst Result = 3 // the device has lost its state: nothing but a reset is taken
	Broken     Result = 4 // the device has stopped: nothing but a reset is taken
)

// Command is TxnCmd of a write to a register: width is 4, or 1, 2 or 4 in the configuration
// space.
func Command(reg, width uint32) uint32 { return reg | width<<widthShift }

const widthShift = 16

// The resume record: words of the device that are of no concern to a driver.
const (
	recState       = 0x900 // 0 operating, 1 reset first
	recDevFeatSel  = 0x904
	recDrvFeatSel  = 0x908
	recQueueSel    = 0x90c
	recDriver      = 0x910 // 4 words: the driver's features
	recOffered     = 0x920 // 4 words: the features offered
	recSHMSel      = 0x930
	recVersion     = 0x934 // recordVersion
	recInflightOff = 0x938 // from the start of the window
	recInflightLen = 0x93c // bytes; 0: none
	recQueues      = 0x940

	recordVersion = 1
	queueStride   = 32

	// Of a queue's part of the record.
	recSize       = 0x00
	recFlags      = 0x04 // flagReady
	recDesc       = 0x08 // 64 bits, as are the next two
	recDriverArea = 0x10
	recDeviceArea = 0x18

	flagReady = 1
)

package virtio

import (
	"fmt"
	"strings"
)

// Feature is the number of one feature bit (2.2).
type Feature uint8

// Feature bits that belong to the rings and transports (6), not to a device type.
const (
	NotifyOnEmpty    Feature = 24 // legacy
	AnyLayout        Feature = 27 // legacy
	IndirectDesc     Feature = 28
	EventIdx         Feature = 29
	Version1         Feature = 32
	AccessPlatform   Feature = 33
	RingPacked       Feature = 34
	InOrder          Feature = 35
	OrderPlatform    Feature = 36
	SRIOV            Feature = 37
	NotificationData Feature = 38
	NotifConfigData  Feature = 39
	RingReset        Feature = 40
	AdminVQ          Feature = 41
	Suspend          Feature = 43
)

// FeatureBits is how many feature bits there are.
const FeatureBits = 128

// Features is a set of feature bits. The zero value is the empty set; sets compare with ==.
type Features [FeatureBits / 64]uint64

// FeatureSet is the set of the given bits.
func FeatureSet(bits ...Feature) (f Features) {
	for _, b := range bits {
		f[b/64] |= 1 << (b % 64)
	}
	return f
}

// Has reports whether bit b is in the set.
func (f Features) Has(b Feature) bool { return f[b/64]>>(b%64)&1 != 0 }

// With is the union of the two sets.
func (f Features) With(g Features) Features { return Features{f[0] | g[0], f[1] | g[1]} }

// And is the intersection of the two sets.
func (f Features) And(g Features) Features { return Features{f[0] & g[0], f[1] & g[1]} }

// Without is the set less the bits of g.
func (f Features) Without(g Features) Features { return Features{f[0] &^ g[0], f[1] &^ g[1]} }

// Word is bits 32n to 32n+31, as the transports carry them; 0 beyond the last word.
func (f Features) Word(n uint32) uint32 {
	if n >= FeatureBits/32 {
		return 0
	}
	return uint32(f[n/2] >> (n % 2 * 32))
}

// SetWord is the set with bits 32n to 32n+31 replaced; a word beyond the last is ignored.
func (f Features) SetWord(n, word uint32) Features {
	if n < FeatureBits/32 {
		shift := n % 2 * 32
		f[n/2] = f[n/2]&^(0xffffffff<<shift) | uint64(word)<<shift
	}
	return f
}

// String lists the bits, for logs.
func (f Features) String() string {
	var bits []string
	for b := range Feature(FeatureBits) {
		if f.Has(b) {
			bits = append(bits, fmt.Sprint(b))
		}
	}
	return "{" + strings.Join(bits, ",") + "}"
}

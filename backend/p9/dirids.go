package p9

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// IDRange says that Count numbers of users or groups from Guest on, as the driver counts, are
// those from Host on.
type IDRange struct {
	Guest, Host, Count uint32
}

// overflowID is what the kernel shows for an owner that a map has no number for.
const overflowID = 65534

// An idMap translates; an empty one changes nothing.
type idMap []IDRange

func newIDMap(ranges []IDRange) (idMap, error) {
	m := idMap(append([]IDRange(nil), ranges...))
	for i, a := range m {
		// The last number means nobody.
		if a.Count == 0 || a.Count > math.MaxUint32-max(a.Guest, a.Host) {
			return nil, fmt.Errorf("%+v is not a range", a)
		}
		for _, b := range m[:i] {
			if overlap(a.Guest, b.Guest, a.Count, b.Count) || overlap(a.Host, b.Host, a.Count, b.Count) {
				return nil, errors.New("ranges overlap")
			}
		}
	}
	return m, nil
}

func overlap(a, b, na, nb uint32) bool { return a < b+nb && b < a+na }

func (m idMap) toGuest(host uint32) uint32 {
	if len(m) == 0 {
		return host
	}
	for _, r := range m {
		if host-r.Host < r.Count {
			return r.Guest + (host - r.Host)
		}
	}
	return overflowID
}

// has tells whether a number of the host's stands for somebody of the driver's.
func (m idMap) has(host uint32) bool {
	return len(m) == 0 || slices.ContainsFunc(m, func(r IDRange) bool { return host-r.Host < r.Count })
}

// toHost returns false for a number that stands for nobody on the host.
func (m idMap) toHost(guest uint32) (uint32, bool) {
	if len(m) == 0 {
		return guest, guest != math.MaxUint32
	}
	for _, r := range m {
		if guest-r.Guest < r.Count {
			return r.Host + (guest - r.Guest), true
		}
	}
	return 0, false
}

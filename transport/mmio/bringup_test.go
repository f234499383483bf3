package mmio

import "testing"

func TestBringUp(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			r := newRig(t, newRegion(t), nil).start()
			f := newFrontEnd(r, d, 0)
			f.rest()
			for range 10 {
				f.more()
			}
		})
	}
}

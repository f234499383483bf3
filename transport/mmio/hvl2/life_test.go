package hvl2

import "testing"

func TestServes(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.q(0).mustServe()
	r.q(1).mustServe()
	r.restart(inOrder())
	r.q(0).mustServe()
	r.q(1).mustServe()
}

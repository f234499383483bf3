package main

import (
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"
)

func TestMissingTests(t *testing.T) {
	tests := parseListing("example.org/m", `TestRING_18_Wrap
TestR2_01_Plain
ok  	example.org/m/vring	0.002s
?   	example.org/m/shmem	[no test files]
TestT18_Crash
TestT1_Boot
ok  	example.org/m/transport/mmio	(cached)
TestHelper
ok  	example.org/m	0.002s
`)
	assert.DeepEqual(t, tests, []listedTest{
		{"./vring", "TestRING_18_Wrap"},
		{"./vring", "TestR2_01_Plain"},
		{"./transport/mmio", "TestT18_Crash"},
		{"./transport/mmio", "TestT1_Boot"},
	}, cmpopts.EquateComparable(listedTest{}))

	missing := missingTests(tests, []entry{
		{Package: "./vring", Test: "TestRING_18_Wrap"},
		{Package: "./vring", Test: "TestT1_Boot"}, // not its package
		{Package: "./transport/mmio", Test: "TestT18_Crash/dialect"},
	})
	assert.DeepEqual(t, missing, []listedTest{
		{"./vring", "TestR2_01_Plain"},
		{"./transport/mmio", "TestT1_Boot"},
	}, cmpopts.EquateComparable(listedTest{}))
}

package emulator_test

import (
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
)

// A test of another machine can start itself once more.
func TestCommand(t *testing.T) {
	const child = "EMULATOR_CHILD"
	if os.Getenv(child) != "" {
		os.Exit(7)
	}
	self, err := os.Executable()
	assert.NilError(t, err)
	cmd := emulator.Command(self, "-test.run=^TestCommand$")
	cmd.Env = append(os.Environ(), child+"=1")
	assert.Error(t, cmd.Run(), "exit status 7")
}

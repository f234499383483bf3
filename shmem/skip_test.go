package shmem

import (
	"os"
	"testing"
)

// cannotRun skips a test that this machine cannot run; where CI=true promises a machine that
// can, it fails it.
func cannotRun(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("cannot run, and CI=true: ", why)
	}
	t.Skip(why)
}

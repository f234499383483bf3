package main

import (
	"os"
	"testing"
)

// childEnv makes this test binary another program: the command itself, so that the monitor under
// test is a process of its own with the race detector, or the mutation, of the test that runs it.
const childEnv = "PMM_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		status := m.Run()
		removeTwin()
		os.Exit(status)
	case "pmm":
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	case "bench":
		benchChild(os.Args[1:])
	case "bare":
		bareChild(os.Args[1:])
	}
}

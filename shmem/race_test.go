//go:build race

package shmem

const raceEnabled = true

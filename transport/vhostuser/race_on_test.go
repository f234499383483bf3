//go:build race

package vhostuser

const raceDetector = true

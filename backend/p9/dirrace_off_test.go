//go:build !race

package p9

const raceDetector = false

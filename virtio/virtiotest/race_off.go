//go:build !race

package virtiotest

const raceDetector = false

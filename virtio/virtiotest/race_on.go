//go:build race

package virtiotest

const raceDetector = true

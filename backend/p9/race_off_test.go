//go:build !race

package p9

const raceEnabled = false
